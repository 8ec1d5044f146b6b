// What the kernel asks of a machine: threads by warps and lanes, barriers, half precision, copies, and small numbers.

constexpr int WARPS = 8;
constexpr int LANES = 32;
constexpr int THREADS = WARPS * LANES;
// The side of a fragment: tensor cores multiply 16 x 16 by 16 x 16.
constexpr int SIDE = 16;
// The stride of a warp's scratch: 16 and 4 more, so that rows begin in different banks.
constexpr int SCRATCH = 20;

#ifdef __CUDACC__
#define FOR_LANES(lane) for (int lane = threadIdx.x % LANES, once = 1; once; once = 0)
#define BARRIER() __syncthreads()
#define WARP_BARRIER() __syncwarp()
#define DEVICE __device__ __forceinline__
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
#define BLOCK() static_cast<long long>(blockIdx.x)
#define WARP() static_cast<int>(threadIdx.x / LANES)
// Registers of a lane: how many lanes a fragment written here holds, and which of them is this one.
constexpr int HELD = 1;
#define SLOT(lane) 0
// NVRTC brings no header that would define it.
#define INFINITY __int_as_float(0x7f800000)

struct alignas(2) half_t {
  unsigned short bits;
};

DEVICE float widen(float value) { return value; }

DEVICE float widen(half_t value) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
}

DEVICE void narrow(float& to, float value) { to = value; }

DEVICE void narrow(half_t& to, float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(value)); }

DEVICE void copy_16_bytes(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from))
               : "memory");
}

DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

DEVICE void zero_16_bytes(void* to) { *static_cast<int4*>(to) = make_int4(0, 0, 0, 0); }
#endif

#if STATE_HALF
typedef half_t State;
#else
typedef float State;
#endif
#if DRIVE_HALF
typedef half_t Drive;
#else
typedef float Drive;
#endif

// Numbers of 16 bytes, by which shared rows are longer than they are used: rows then begin in different banks.
constexpr int VECTOR = 16 / sizeof(State);
// A warp owns one row of fragments and, of their columns, every STEP-th.
constexpr int ROW_FRAGMENTS = ROWS / SIDE;
constexpr int STEP = WARPS / ROW_FRAGMENTS;
// 64 classes are 4 columns of fragments.
constexpr int CLASS_FRAGMENTS = (4 + STEP - 1) / STEP;

DEVICE int padded(int width) { return (width + SIDE - 1) / SIDE * SIDE; }

DEVICE int lead_of(int width) { return padded(width) + VECTOR; }

DEVICE int smaller(int a, int b) { return a < b ? a : b; }

// NaN stays NaN: it is neither below nor above.
DEVICE float clipped(float value, float clip) { return value < 0.0f ? 0.0f : (value > clip ? clip : value); }

// What is not a number has moved infinitely far: a maximum drops NaN.
DEVICE float change(float moved, float before) {
  const float by = fabsf(moved - before);
  return by == by ? by : INFINITY;
}

DEVICE float bigger(float a, float b) { return a > b ? a : b; }
