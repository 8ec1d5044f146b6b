// The end of the emulation: what runs the kernel, which stands before this text.

namespace emulation {

const Arguments* arguments = nullptr;

inline void run() {
  settle_2h(*arguments);
  done[warp] = true;
  swapcontext(&coroutines[warp], &scheduler);
}

// A function of its own: what calls getcontext keeps its other variables out of registers.
inline void prepare(int w, unsigned char* stack) {
  done[w] = false;
  pending[w].clear();
  getcontext(&coroutines[w]);
  coroutines[w].uc_stack.ss_sp = stack;
  coroutines[w].uc_stack.ss_size = STACK;
  coroutines[w].uc_link = nullptr;
  makecontext(&coroutines[w], run, 0);
}

}  // namespace emulation

extern "C" long long arguments_bytes() { return sizeof(Arguments); }

// 0, or 1 where a guard changed, 2 where some warps ended while others waited, 3 where copies were never waited for.
extern "C" int emulate(const Arguments* arguments, long long blocks, long long shared_bytes, int descending, int lazy) {
  using namespace emulation;
  emulation::arguments = arguments;
  emulation::lazy = lazy != 0;
  std::vector<unsigned char> memory(shared_bytes + 2 * GUARD), stacks(std::size_t{COROUTINES} * STACK);
  // Where a device aligns it.
  shared = memory.data() + (128 - reinterpret_cast<unsigned long long>(memory.data()) % 128) % 128;
  for (block = 0; block < blocks; ++block) {
    std::memset(memory.data(), POISON, memory.size());
    for (int w = 0; w < COROUTINES; ++w) prepare(w, stacks.data() + std::size_t{STACK} * w);
    int ended = 0;
    while (ended == 0) {
      for (int turn = 0; turn < COROUTINES; ++turn) {
        warp = descending ? COROUTINES - 1 - turn : turn;
        swapcontext(&scheduler, &coroutines[warp]);
        ended += done[warp];
      }
    }
    if (ended != COROUTINES) return 2;
    for (const auto& left : pending) {
      if (!left.empty()) return 3;
    }
    for (const unsigned char* at = shared + shared_bytes; at != memory.data() + memory.size(); ++at) {
      if (*at != POISON) return 1;
    }
  }
  return 0;
}
