/* Sums of a few doubles, number for number as numpy computes them.
 *
 * The control suite's start states and rewards go through numpy's norm, dot and mean, and a last bit
 * of a start state is an other episode some hundred steps later. numpy.dot is OpenBLAS's ddot: it
 * adds products one by one, and on a processor with AVX-512 its kernels fuse each multiplication with
 * the addition. So these functions may differ in the last bit from machine to machine, as dm_control
 * does; on one machine both agree. Sources: numpy.linalg.norm, numpy.ndarray.mean (pairwise
 * summation), OpenBLAS kernel/x86_64/ddot.c. */
#ifndef HINDCAST_ENVIRONMENTS_NUMPY_SUMS_H
#define HINDCAST_ENVIRONMENTS_NUMPY_SUMS_H

/* a(n) . b(n), for n < 32: longer vectors are summed in other orders. */
double numpy_dot(const double *a, const double *b, int n);
/* sqrt(v . v), n < 32. */
double numpy_norm(const double *v, int n);
/* values(n).mean(), 1 <= n <= 128. */
double numpy_mean(const double *values, int n);

#endif
