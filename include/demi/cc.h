/*
 * Compiler support for the Demikernel API: parameter annotations and attributes.
 *
 * The names are those of Demikernel v1.5.13, so that programs which use them compile.
 * Users need not include this file; the other headers do.
 */
#ifndef DEMI_CC_H
#define DEMI_CC_H

/*
 * Annotations in the manner of Microsoft's SAL. They say who reads and who writes a
 * parameter and expand to nothing here.
 */
#ifndef _In_
#define _In_ /* read by the call; must be valid */
#endif
#ifndef _In_z_
#define _In_z_ /* as _In_, a string that ends with NUL */
#endif
#ifndef _In_opt_
#define _In_opt_ /* as _In_, may be NULL */
#endif
#ifndef _In_reads_
#define _In_reads_(s) /* as _In_, s elements are read */
#endif
#ifndef _In_reads_bytes_
#define _In_reads_bytes_(b) /* as _In_, b bytes are read */
#endif
#ifndef _Out_
#define _Out_ /* written by the call on success; must be valid */
#endif
#ifndef _Out_writes_to_
#define _Out_writes_to_(s, c) /* room for s elements, of which c are written */
#endif
#ifndef _Deref_pre_z_
#define _Deref_pre_z_ /* points to strings that end with NUL */
#endif

/*
 * ATTR_NONNULL(i, ...) lets the compiler warn when a literal NULL is given for the i-th
 * parameter, counted from one. The library does not rely on it: every call checks and
 * answers EINVAL. Whoever implements the calls defines DEMI_IMPLEMENTATION before the
 * first header, because a compiler removes the checks of parameters that it was promised
 * to be non-NULL.
 */
#if defined(__GNUC__) && !defined(DEMI_IMPLEMENTATION)
#define ATTR_NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#else
#define ATTR_NONNULL(...)
#endif

/* ATTR_NODISCARD makes the compiler warn when a result is thrown away. */
#if defined(__GNUC__)
#define ATTR_NODISCARD __attribute__((warn_unused_result))
#else
#define ATTR_NODISCARD
#endif

/* DEMI_PACKED: without padding, aligned to one byte; part of the binary interface. */
#if defined(__GNUC__)
#define DEMI_PACKED __attribute__((__packed__))
#else
#error "the layout of the Demikernel API needs a compiler with __attribute__((packed))"
#endif

/* DEMI_STATIC_ASSERT(c, text) stops the compilation when the constant c is false. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define DEMI_STATIC_ASSERT(c, text) static_assert(c, text)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define DEMI_STATIC_ASSERT(c, text) _Static_assert(c, text)
#else
#define DEMI_STATIC_ASSERT(c, text) extern int demi_static_assert_needs_c11
#endif

#endif /* DEMI_CC_H */
