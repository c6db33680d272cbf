//! What kernels run on: a vector level, a pool of threads and memory for outputs.

use std::sync::Arc;

use super::buffer_pool::BufferPool;
use super::level::SimdLevel;
use super::pool::Pool;

/// What kernels run on: an instruction set and a pool of threads. Cheap to clone.
#[derive(Clone)]
pub struct Cpu(Arc<Parts>);

struct Parts {
    level: SimdLevel,
    pool: Pool,
    buffers: BufferPool,
}

impl Cpu {
    /// More threads than these are never made.
    pub const MAX_THREADS: usize = 1024;

    /// `threads` in all (default: as many as the system offers; at most [`Cpu::MAX_THREADS`]), at `level`
    /// (default: the best).
    pub fn new(threads: Option<usize>, level: Option<SimdLevel>) -> Cpu {
        let offered = || std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::new(threads.unwrap_or_else(offered).min(Cpu::MAX_THREADS));
        Cpu(Arc::new(Parts {
            level: level.unwrap_or_else(SimdLevel::best),
            pool,
            buffers: BufferPool::default(),
        }))
    }

    /// The instruction set that kernels use.
    pub fn level(&self) -> SimdLevel {
        self.0.level
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Memory for large outputs, used again.
    pub fn buffers(&self) -> &BufferPool {
        &self.0.buffers
    }

    /// Threads that work on a kernel, the caller included.
    pub fn threads(&self) -> usize {
        self.pool().threads()
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpu({}, {} threads)", self.level(), self.threads())
    }
}
