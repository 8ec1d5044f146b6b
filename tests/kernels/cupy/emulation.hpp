// What two_hidden.cu needs to run on a CPU: its names for threads, barriers, copies and half precision.
//
// Each warp of a block is a coroutine that runs until a barrier; its lanes are loops. Warps run one after another, in
// either direction, and copies to shared memory happen when they are issued or when they are waited for: with a missing
// barrier or wait, one of these orders reads what is not there yet. Shared memory begins full of NaN, and the guard
// behind it must not change.

#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#define DEVICE inline
#define __global__
#define __launch_bounds__(...)
#define FOR_LANES(lane) for (int lane = 0; lane < LANES; ++lane)
#define BARRIER() emulation::barrier()
// The lanes of a warp are loops: one ends before the next begins.
#define WARP_BARRIER()
#define SHARED_MEMORY(name) unsigned char* name = emulation::shared
#define BLOCK() emulation::block
#define WARP() emulation::warp
#define SLOT(lane) lane

constexpr int HELD = 32;

typedef _Float16 half_t;

inline float widen(float value) { return value; }
inline float widen(half_t value) { return static_cast<float>(value); }
inline void narrow(float& to, float value) { to = value; }
inline void narrow(half_t& to, float value) { to = static_cast<half_t>(value); }

namespace emulation {

constexpr int COROUTINES = 8;
constexpr int STACK = 1 << 19;
constexpr int GUARD = 256;
constexpr unsigned char POISON = 0xff;

unsigned char* shared = nullptr;
long long block = 0;
int warp = 0;
bool lazy = false;
std::vector<std::pair<void*, const void*>> pending[COROUTINES];
ucontext_t scheduler, coroutines[COROUTINES];
bool done[COROUTINES];

inline void barrier() { swapcontext(&coroutines[warp], &scheduler); }

}  // namespace emulation

inline void copy_16_bytes(void* to, const void* from) {
  if (emulation::lazy) {
    emulation::pending[emulation::warp].emplace_back(to, from);
  } else {
    std::memcpy(to, from, 16);
  }
}

inline void wait_for_copies() {
  for (const auto& [to, from] : emulation::pending[emulation::warp]) std::memcpy(to, from, 16);
  emulation::pending[emulation::warp].clear();
}

inline void zero_16_bytes(void* to) { std::memset(to, 0, 16); }
