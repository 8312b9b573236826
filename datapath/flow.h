/* The rules live in wire/, where the model can use them without the engine. */
#include "wire/flow.h" // IWYU pragma: export
