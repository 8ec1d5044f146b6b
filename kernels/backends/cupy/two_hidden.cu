// A whole phase of P networks with two hidden layers in one launch: a block settles ROWS samples of one network.
//
// A sweep moves every layer to its exact minimiser:
//
//     h1 <- clip(drive + h2 W2^T, 0, c)            drive = x W1 + b1, computed once a batch
//     h2 <- clip(h1 W2 + b2 + o W3^T, 0, c)
//     o  <- (h2 W3 + b3 + beta y)/(1 + beta)       output inside the energy, or
//     e  <- beta (y - softmax(h2 W3 + b3))         a readout, whose pull e stands in for o
//
// Drive, states and biases stay in shared memory for all sweeps, and of the weights as many rows as fit; the rest
// passes through two buffers, one filling while the other is read. Each matrix is read by rows in both directions: a
// tile of rows is a part of the sum upwards, and of the columns downwards.
//
// `kernels.backends.cupy.two_hidden_plan` gives the constants (STATE_HALF, DRIVE_HALF, READOUT, ROWS, FRAGMENTS) and
// puts struct Arguments, machine.cuh and fragments.cuh in front of this text. Threads are addressed by warps and lanes,
// through the few names of machine.cuh, so that a test can give them another meaning and run this text on a CPU.

// Loops that copy are not unrolled, or little: the sweep's code should stay in the instruction cache.

struct Weights {
  const State* global;
  long long stride;
  int rows, columns;
  // In shared memory: the first `kept` rows, and for the others two buffers of `step` rows each.
  State* held;
  int kept;
  State* buffer;
  int buffer_size;
  int step;
};

// Begin to copy the rows [first, last) of the padded matrix; what lies beyond the matrix becomes 0.
DEVICE void fetch(const Weights& w, int first, int last, State* to) {
  const int across = padded(w.columns), lead = lead_of(w.columns);
  const bool whole = w.columns % VECTOR == 0 && w.stride % VECTOR == 0 &&
                     reinterpret_cast<unsigned long long>(w.global) % 16 == 0;
  const int pieces = across / VECTOR;
  FOR_LANES(lane) {
    if (whole) {
#pragma unroll 4
      for (int i = WARP() * LANES + lane; i < (last - first) * pieces; i += THREADS) {
        const int row = first + i / pieces, column = i % pieces * VECTOR;
        State* here = to + (row - first) * lead + column;
        if (row < w.rows && column < w.columns) {
          copy_16_bytes(here, w.global + row * w.stride + column);
        } else {
          zero_16_bytes(here);
        }
      }
    } else {
#pragma unroll 1
      for (int i = WARP() * LANES + lane; i < (last - first) * across; i += THREADS) {
        const int row = first + i / across, column = i % across;
        State* here = to + (row - first) * lead + column;
        if (row < w.rows && column < w.columns) {
          *here = w.global[row * w.stride + column];
        } else {
          narrow(*here, 0.0f);
        }
      }
    }
  }
}

// Call use(tile, first, last) for all rows of the padded matrix, in order. Nobody may be reading the buffers.
template <typename Use>
DEVICE void by_rows(const Weights& w, const Use& use) {
  const int rows = padded(w.rows);
  if (w.kept < rows) fetch(w, w.kept, smaller(w.kept + w.step, rows), w.buffer);
  int first = 0, turn = 0;
#pragma unroll 1
  while (first < rows) {
    // The rows that are kept are one tile.
    int last = w.kept;
    const State* tile = w.held;
    if (first >= w.kept) {
      last = smaller(first + w.step, rows);
      wait_for_copies();
      // This tile is there for all warps, and all are done with the other buffer.
      BARRIER();
      if (last < rows) fetch(w, last, smaller(last + w.step, rows), w.buffer + (1 - turn) * w.buffer_size);
      tile = w.buffer + turn * w.buffer_size;
      turn = 1 - turn;
    }
    use(tile, first, last);
    first = last;
  }
}

// Add to this warp's sums, whose columns begin at fragment `column`, the part of S W that the tile's rows give.
template <int N>
DEVICE void up(Sum (&sums)[N], int column, int columns, const State* s, int s_lead, const State* tile, int lead,
               int first, int last) {
  const State* a = s + WARP() % ROW_FRAGMENTS * SIDE * s_lead;
#pragma unroll 2
  for (int k = first; k < last; k += SIDE) {
    Left left;
    load(left, a + k, s_lead);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int j = column + i * STEP;
      if (j < columns) {
        Right right;
        load<false>(right, tile + (k - first) * lead + j * SIDE, lead);
        multiply<false>(sums[i], left, right);
      }
    }
  }
}

// Add to this warp's sums S W^T in those columns that are the tile's rows; S is `depth` wide.
template <int N>
DEVICE void down(Sum (&sums)[N], int column, const State* s, int s_lead, int depth, const State* tile, int lead,
                 int first, int last) {
  const State* a = s + WARP() % ROW_FRAGMENTS * SIDE * s_lead;
#pragma unroll 2
  for (int k = 0; k < depth; k += SIDE) {
    Left left;
    load(left, a + k, s_lead);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int j = (column + i * STEP) * SIDE;
      if (j >= first && j < last) {
        Right right;
        load<true>(right, tile + (j - first) * lead + k, lead);
        multiply<true>(sums[i], left, right);
      }
    }
  }
}

// ----------------------------------------------------------------------------------------------------- the phase

struct Phase {
  State *h1, *h2, *o;
  Drive* drive;
  float *bias2, *bias3, *scratch;
  Weights w2, w3;
  const float* y;
  long long y_row;
  int width1, width2, classes, live;
  float nudge, clip;
};

// Move the columns [16 j, 16 j + 16) of a hidden layer to what it received.
template <typename Base>
DEVICE void finish(const Phase& p, const Sum& sum, int j, State* h, int width, const Base& base, bool last,
                   float (&largest)[HELD]) {
  float* scratch = p.scratch + WARP() * SIDE * SCRATCH;
  const int lead = lead_of(width), first = WARP() % ROW_FRAGMENTS * SIDE;
  store(sum, scratch, SCRATCH);
  WARP_BARRIER();
  FOR_LANES(lane) {
#pragma unroll
    for (int e = 0; e < SIDE * SIDE / LANES; ++e) {
      const int at = e * LANES + lane, row = at / SIDE, unit = j * SIDE + at % SIDE;
      State* here = h + (first + row) * lead + unit;
      float value = 0.0f;
      if (unit < width) value = clipped(scratch[row * SCRATCH + at % SIDE] + base(first + row, unit), p.clip);
      State moved;
      narrow(moved, value);
      if (last && unit < width && first + row < p.live) {
        largest[SLOT(lane)] = bigger(largest[SLOT(lane)], change(widen(moved), widen(*here)));
      }
      *here = moved;
    }
  }
  WARP_BARRIER();
}

DEVICE void move_first(const Phase& p, bool last, float (&largest)[HELD]) {
  const int lead = lead_of(p.width2), across = padded(p.width1);
  by_rows(p.w2, [&](const State* tile, int begin, int end) {
#pragma unroll 1
    for (int column = begin / SIDE + WARP() / ROW_FRAGMENTS; column * SIDE < end; column += FRAGMENTS * STEP) {
      Sum sums[FRAGMENTS];
#pragma unroll
      for (int i = 0; i < FRAGMENTS; ++i) clear(sums[i]);
      down(sums, column, p.h2, lead, padded(p.width2), tile, lead, begin, end);
#pragma unroll
      for (int i = 0; i < FRAGMENTS; ++i) {
        const int j = column + i * STEP;
        if (j * SIDE < end) {
          finish(p, sums[i], j, p.h1, p.width1,
                 [&](int row, int unit) { return widen(p.drive[row * across + unit]); }, last, largest);
        }
      }
    }
  });
  BARRIER();
}

DEVICE void move_second(const Phase& p, bool last, float (&largest)[HELD]) {
  const int columns = padded(p.width2) / SIDE, column = WARP() / ROW_FRAGMENTS;
  Sum sums[FRAGMENTS];
#pragma unroll
  for (int i = 0; i < FRAGMENTS; ++i) clear(sums[i]);
  by_rows(p.w2, [&](const State* tile, int begin, int end) {
    up(sums, column, columns, p.h1, lead_of(p.width1), tile, lead_of(p.width2), begin, end);
  });
  // Both matrices pass through the same buffers.
  BARRIER();
  by_rows(p.w3, [&](const State* tile, int begin, int end) {
    down(sums, column, p.o, lead_of(p.classes), padded(p.classes), tile, lead_of(p.classes), begin, end);
  });
#pragma unroll
  for (int i = 0; i < FRAGMENTS; ++i) {
    const int j = column + i * STEP;
    if (j < columns) {
      finish(p, sums[i], j, p.h2, p.width2, [&](int, int unit) { return p.bias2[unit]; }, last, largest);
    }
  }
  BARRIER();
}

// The row of a readout's pull beta (y - softmax), from its scores.
DEVICE void pull_row(const Phase& p, int row, float* scores, State* o) {
  float highest = -INFINITY, sum = 0.0f;
#pragma unroll 1
  for (int c = 0; c < p.classes; ++c) {
    scores[c] += p.bias3[c];
    highest = bigger(scores[c], highest);
  }
#pragma unroll 1
  for (int c = 0; c < p.classes; ++c) {
    scores[c] = expf(scores[c] - highest);
    sum += scores[c];
  }
#pragma unroll 1
  for (int c = 0; c < p.classes; ++c) {
    const float y = row < p.live ? p.y[row * p.y_row + c] : 0.0f;
    narrow(o[c], p.nudge * (y - scores[c] / sum));
  }
}

DEVICE void move_output(const Phase& p, bool last, float (&largest)[HELD]) {
  const int across = padded(p.classes), lead = lead_of(p.classes), score_lead = across + 4;
  const int columns = across / SIDE, column = WARP() / ROW_FRAGMENTS;
  Sum sums[CLASS_FRAGMENTS];
#pragma unroll
  for (int i = 0; i < CLASS_FRAGMENTS; ++i) clear(sums[i]);
  by_rows(p.w3, [&](const State* tile, int begin, int end) {
    up(sums, column, columns, p.h2, lead_of(p.width2), tile, lead, begin, end);
  });
#pragma unroll
  for (int i = 0; i < CLASS_FRAGMENTS; ++i) {
    const int j = column + i * STEP;
    if (j < columns) {
      store(sums[i], p.scratch + WARP() % ROW_FRAGMENTS * SIDE * score_lead + j * SIDE, score_lead);
    }
  }
  // Each row of scores is the work of several warps.
  BARRIER();
  FOR_LANES(lane) {
#if READOUT
#pragma unroll 1
    for (int row = WARP() * LANES + lane; row < ROWS; row += THREADS) {
      pull_row(p, row, p.scratch + row * score_lead, p.o + row * lead);
    }
#else
#pragma unroll 1
    for (int i = WARP() * LANES + lane; i < ROWS * p.classes; i += THREADS) {
      const int row = i / p.classes, c = i % p.classes;
      State* here = p.o + row * lead + c;
      const float y = row < p.live ? p.y[row * p.y_row + c] : 0.0f;
      const float received = p.scratch[row * score_lead + c] + p.bias3[c];
      State moved;
      narrow(moved, (received + p.nudge * y) / (1.0f + p.nudge));
      if (last && row < p.live) {
        largest[SLOT(lane)] = bigger(largest[SLOT(lane)], change(widen(moved), widen(*here)));
      }
      *here = moved;
    }
#endif
  }
  BARRIER();
}

// Copy `live` rows of `width` numbers to shared memory; the padding becomes 0.
template <typename T>
DEVICE void take(T* to, int lead, const T* from, long long stride, int live, int width) {
  const int across = padded(width);
  FOR_LANES(lane) {
#pragma unroll 1
    for (int i = WARP() * LANES + lane; i < ROWS * across; i += THREADS) {
      const int row = i / across, unit = i % across;
      if (row < live && unit < width) {
        to[row * lead + unit] = from[row * stride + unit];
      } else {
        narrow(to[row * lead + unit], 0.0f);
      }
    }
  }
}

DEVICE void give(State* to, long long stride, const State* from, int live, int width) {
  const int lead = lead_of(width);
  FOR_LANES(lane) {
#pragma unroll 1
    for (int i = WARP() * LANES + lane; i < live * width; i += THREADS) {
      to[i / width * stride + i % width] = from[i / width * lead + i % width];
    }
  }
}

DEVICE void take_bias(float* to, const float* from, int width) {
  FOR_LANES(lane) {
#pragma unroll 1
    for (int i = WARP() * LANES + lane; i < padded(width); i += THREADS) to[i] = i < width ? from[i] : 0.0f;
  }
}

DEVICE Weights weights_of(unsigned char* shared, const State* global, long long stride, int rows, int columns,
                          long long held, long long kept, const Arguments& a) {
  Weights w;
  w.global = global;
  w.stride = stride;
  w.rows = rows;
  w.columns = columns;
  w.held = reinterpret_cast<State*>(shared + held);
  w.kept = static_cast<int>(kept);
  w.buffer = reinterpret_cast<State*>(shared + a.at_buffer);
  w.buffer_size = static_cast<int>(a.buffer_bytes / sizeof(State));
  w.step = w.buffer_size / lead_of(columns) / SIDE * SIDE;
  return w;
}

template <typename T>
DEVICE T* array(long long address) {
  return reinterpret_cast<T*>(address);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) settle_2h(const Arguments a) {
  SHARED_MEMORY(shared);
  const long long network = BLOCK() / a.tiles, first = BLOCK() % a.tiles * ROWS;
  Phase p;
  p.width1 = static_cast<int>(a.width1);
  p.width2 = static_cast<int>(a.width2);
  p.classes = static_cast<int>(a.classes);
  p.live = static_cast<int>(a.batch - first < ROWS ? a.batch - first : ROWS);
  p.nudge = array<const float>(a.beta)[network];
  p.clip = static_cast<float>(a.clip);
  p.y = array<const float>(a.target) + network * a.target_p + first * a.target_b;
  p.y_row = a.target_b;
  p.h1 = reinterpret_cast<State*>(shared + a.at_h1);
  p.h2 = reinterpret_cast<State*>(shared + a.at_h2);
  p.o = reinterpret_cast<State*>(shared + a.at_o);
  p.drive = reinterpret_cast<Drive*>(shared + a.at_drive);
  p.bias2 = reinterpret_cast<float*>(shared + a.at_bias2);
  p.bias3 = reinterpret_cast<float*>(shared + a.at_bias3);
  p.scratch = reinterpret_cast<float*>(shared + a.at_scratch);
  p.w2 = weights_of(shared, array<const State>(a.w2) + network * a.w2_p, a.w2_k, p.width1, p.width2, a.at_w2,
                    a.kept2, a);
  p.w3 = weights_of(shared, array<const State>(a.w3) + network * a.w3_p, a.w3_k, p.width2, p.classes, a.at_w3,
                    a.kept3, a);

  if (p.w2.kept > 0) fetch(p.w2, 0, p.w2.kept, p.w2.held);
  if (p.w3.kept > 0) fetch(p.w3, 0, p.w3.kept, p.w3.held);
  take(p.h1, lead_of(p.width1), array<const State>(a.start1) + network * a.start1_p + first * a.start1_b, a.start1_b,
       p.live, p.width1);
  take(p.h2, lead_of(p.width2), array<const State>(a.start2) + network * a.start2_p + first * a.start2_b, a.start2_b,
       p.live, p.width2);
  // A readout's pull is made before it is used: only its padding must be 0 from the start.
  take(p.o, lead_of(p.classes), array<const State>(a.start3) + network * a.start3_p + first * a.start3_b, a.start3_b,
       READOUT ? 0 : p.live, p.classes);
  take(p.drive, padded(p.width1), array<const Drive>(a.drive) + network * a.drive_p + first * a.drive_b, a.drive_b,
       p.live, p.width1);
  take_bias(p.bias2, array<const float>(a.bias2) + network * a.bias2_p, p.width2);
  take_bias(p.bias3, array<const float>(a.bias3) + network * a.bias3_p, p.classes);
  wait_for_copies();
  BARRIER();

  float largest[HELD];
  FOR_LANES(lane) largest[SLOT(lane)] = 0.0f;
  for (long long step = 0; step < a.steps; ++step) {
    const bool last = step == a.steps - 1;
    const bool backward = a.order == 1 || (a.order == 2 && step % 2 == 0);
    for (int turn = 1; turn <= 3; ++turn) {
      int layer = backward ? 4 - turn : turn;
      // A readout is read just before the layer below it moves.
      if (READOUT && !backward && turn > 1) layer = 5 - turn;
      if (layer == 1) {
        move_first(p, last, largest);
      } else if (layer == 2) {
        move_second(p, last, largest);
      } else {
        move_output(p, last, largest);
      }
    }
  }

  give(array<State>(a.hidden1) + network * a.hidden1_p + first * a.hidden1_b, a.hidden1_b, p.h1, p.live, p.width1);
  give(array<State>(a.hidden2) + network * a.hidden2_p + first * a.hidden2_b, a.hidden2_b, p.h2, p.live, p.width2);
#if !READOUT
  give(array<State>(a.output) + network * a.output_p + first * a.output_b, a.output_b, p.o, p.live, p.classes);
#endif
  FOR_LANES(lane) p.scratch[WARP() * LANES + lane] = largest[SLOT(lane)];
  BARRIER();
  FOR_LANES(lane) {
    if (WARP() == 0 && lane == 0) {
      float most = 0.0f;
#pragma unroll 1
      for (int i = 0; i < THREADS; ++i) most = bigger(most, p.scratch[i]);
      array<float>(a.partial)[BLOCK()] = most;
    }
  }
}
