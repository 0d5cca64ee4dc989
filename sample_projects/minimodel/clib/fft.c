/* A mixed-radix complex FFT (factors 2, 3, 4, 5; any other by the plain sum) for the spectra along latitude circles. */
#include "clib.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef double complex number;

static const double pi = 3.141592653589793238462643;

static number root(int power, int order)
{
    return cos(2 * pi * power / order) - I * sin(2 * pi * power / order);
}

static void butterfly2(number *a)
{
    number t = a[1];

    a[1] = a[0] - t;
    a[0] += t;
}

static void butterfly3(number *a)
{
    const double half_root3 = 0.866025403784438646763723;
    number sum = a[1] + a[2], gap = -I * half_root3 * (a[1] - a[2]), middle = a[0] - 0.5 * sum;

    a[0] += sum;
    a[1] = middle + gap;
    a[2] = middle - gap;
}

static void butterfly4(number *a)
{
    number s02 = a[0] + a[2], d02 = a[0] - a[2], s13 = a[1] + a[3], d13 = -I * (a[1] - a[3]);

    a[0] = s02 + s13;
    a[1] = d02 + d13;
    a[2] = s02 - s13;
    a[3] = d02 - d13;
}

static void butterfly5(number *a)
{
    const double c1 = 0.309016994374947424102293, c2 = -0.809016994374947424102293;
    const double s1 = 0.951056516295153572116439, s2 = 0.587785252292473129168706;
    number s14 = a[1] + a[4], s23 = a[2] + a[3], d14 = -I * (a[1] - a[4]), d23 = -I * (a[2] - a[3]);
    number u = a[0] + c1 * s14 + c2 * s23, v = a[0] + c2 * s14 + c1 * s23;
    number p = s1 * d14 + s2 * d23, q = s2 * d14 - s1 * d23;

    a[0] += s14 + s23;
    a[1] = u + p;
    a[4] = u - p;
    a[2] = v + q;
    a[3] = v - q;
}

static void butterfly(number *a, int radix, number *scratch)
{
    switch (radix) {
    case 2: butterfly2(a); return;
    case 3: butterfly3(a); return;
    case 4: butterfly4(a); return;
    case 5: butterfly5(a); return;
    }
    for (int k = 0; k < radix; k++) {
        scratch[k] = 0;
        for (int j = 0; j < radix; j++)
            scratch[k] += a[j] * root((int)((long)j * k % radix), radix);
    }
    memcpy(a, scratch, (size_t)radix * sizeof *a);
}

static int smallest_factor(int count)
{
    if (count % 4 == 0)
        return 4;
    for (int factor = 2; factor * factor <= count; factor++)
        if (count % factor == 0)
            return factor;
    return count;
}

/* Decimation in time: `radix` interleaved transforms of count/radix, then one pass of butterflies. */
static void transform(const number *in, int stride, number *out, int count, number *scratch)
{
    int radix, part;

    if (count == 1) {
        out[0] = in[0];
        return;
    }
    radix = smallest_factor(count);
    part = count / radix;
    for (int i = 0; i < radix; i++)
        transform(in + i * stride, stride * radix, out + i * part, part, scratch);
    for (int k = 0; k < part; k++) {
        number *a = scratch;

        for (int i = 0; i < radix; i++)
            a[i] = out[i * part + k] * root((int)((long)i * k % count), count);
        butterfly(a, radix, scratch + radix);
        for (int i = 0; i < radix; i++)
            out[i * part + k] = a[i];
    }
}

void clib_power_spectrum(const double *series, int count, double *power)
{
    number *work = calloc(4 * (size_t)count, sizeof *work);

    if (!work)
        abort();
    for (int i = 0; i < count; i++)
        work[i] = series[i];
    transform(work, 1, work + count, count, work + 2 * count);
    for (int k = 0; k <= count / 2; k++) {
        double amplitude = cabs(work[count + k]) / count;

        power[k] = amplitude * amplitude * (k == 0 || 2 * k == count ? 1 : 2);
    }
    free(work);
}
