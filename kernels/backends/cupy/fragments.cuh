// Products of 16 x 16 fragments: by tensor cores for fp16, by the lanes of a warp otherwise.

#if STATE_HALF && defined(__CUDACC__)
struct Left {
  unsigned x[8];
};

struct Right {
  unsigned x[8];
};

struct Sum {
  float x[8];
};

#define EIGHT(x) x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(x[4]), "r"(x[5]), "r"(x[6]), "r"(x[7]
#define INTO(x) \
  "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]), "=r"(x[4]), "=r"(x[5]), "=r"(x[6]), "=r"(x[7])

DEVICE unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

DEVICE void load(Left& left, const State* p, int lead) {
  asm volatile(
      "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
      : INTO(left.x)
      : "r"(shared_address(p)), "r"(lead)
      : "memory");
}

template <bool DOWN>
DEVICE void load(Right& right, const State* p, int lead) {
  if (DOWN) {
    asm volatile(
        "wmma.load.b.sync.aligned.col.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : INTO(right.x)
        : "r"(shared_address(p)), "r"(lead)
        : "memory");
  } else {
    asm volatile(
        "wmma.load.b.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : INTO(right.x)
        : "r"(shared_address(p)), "r"(lead)
        : "memory");
  }
}

#define MULTIPLY(layout)                                                                                        \
  asm("wmma.mma.sync.aligned.row." layout                                                                       \
      ".m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11, %12, %13, %14, %15}, "           \
      "{%16, %17, %18, %19, %20, %21, %22, %23}, {%0, %1, %2, %3, %4, %5, %6, %7};"                             \
      : "+f"(sum.x[0]), "+f"(sum.x[1]), "+f"(sum.x[2]), "+f"(sum.x[3]), "+f"(sum.x[4]), "+f"(sum.x[5]),         \
        "+f"(sum.x[6]), "+f"(sum.x[7])                                                                          \
      : "r"(EIGHT(left.x)), "r"(EIGHT(right.x)))

template <bool DOWN>
DEVICE void multiply(Sum& sum, const Left& left, const Right& right) {
  if (DOWN) {
    MULTIPLY("col");
  } else {
    MULTIPLY("row");
  }
}

DEVICE void clear(Sum& sum) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sum.x[i] = 0.0f;
}

DEVICE void store(const Sum& sum, float* p, int lead) {
  asm volatile(
      "wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8}, %9;" ::"r"(
          shared_address(p)),
      "f"(sum.x[0]), "f"(sum.x[1]), "f"(sum.x[2]), "f"(sum.x[3]), "f"(sum.x[4]), "f"(sum.x[5]), "f"(sum.x[6]),
      "f"(sum.x[7]), "r"(lead)
      : "memory");
}
#else
// Without tensor cores a lane holds half a row of the sum: fp32 is the truth path, every product in whole fp32.
struct Left {
  const State* p;
  int lead;
};

struct Right {
  const State* p;
  int lead;
};

struct Sum {
  float x[HELD][8];
};

DEVICE void load(Left& left, const State* p, int lead) {
  left.p = p;
  left.lead = lead;
}

template <bool DOWN>
DEVICE void load(Right& right, const State* p, int lead) {
  right.p = p;
  right.lead = lead;
}

template <bool DOWN>
DEVICE void multiply(Sum& sum, const Left& left, const Right& right) {
  FOR_LANES(lane) {
    float* x = sum.x[SLOT(lane)];
    const State* a = left.p + lane / 2 * left.lead;
    const int first = lane % 2 * 8;
#pragma unroll 4
    for (int k = 0; k < SIDE; ++k) {
      const float held = widen(a[k]);
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        const int n = first + c;
        x[c] += held * widen(DOWN ? right.p[n * right.lead + k] : right.p[k * right.lead + n]);
      }
    }
  }
}

DEVICE void clear(Sum& sum) {
  FOR_LANES(lane) {
#pragma unroll
    for (int c = 0; c < 8; ++c) sum.x[SLOT(lane)][c] = 0.0f;
  }
}

DEVICE void store(const Sum& sum, float* p, int lead) {
  FOR_LANES(lane) {
#pragma unroll
    for (int c = 0; c < 8; ++c) p[lane / 2 * lead + lane % 2 * 8 + c] = sum.x[SLOT(lane)][c];
  }
}
#endif
