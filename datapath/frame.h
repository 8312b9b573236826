/* The frame lives in wire/, where the model can use it without the engine. */
#include "wire/frame.h" // IWYU pragma: export
