//! The one thread pool of a backend.

use ablate_compiler::BackendError;

/// Threads that share the work of one kernel at a time.
pub struct Pool {
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl Pool {
    /// A pool of this many threads; zero for one a core.
    ///
    /// # Errors
    /// The operating system refuses to start a thread.
    pub fn new(threads: usize) -> Result<Self, BackendError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        if threads == 1 {
            return Ok(Pool {
                pool: None,
                threads,
            });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("ablate-cpu-{i}"))
            .build()
            .map_err(|e| BackendError::Device {
                device: "cpu".into(),
                reason: format!(
                    "{threads} threads could not be started: {e}; ask for fewer with --threads"
                ),
            })?;
        Ok(Pool {
            pool: Some(pool),
            threads,
        })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` inside the pool, so that the kernels it starts need not enter it one by one.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `work(chunk)` for every chunk, on several threads; inside [`Pool::enter`].
    pub fn each(&self, chunks: usize, work: impl Fn(usize) + Sync) {
        if self.pool.is_none() || chunks <= 1 {
            (0..chunks).for_each(work);
            return;
        }
        halve(0, chunks, &work);
    }

    /// The number of the calling thread, below [`Pool::threads`]; inside [`Pool::enter`].
    pub fn index(&self) -> usize {
        rayon::current_thread_index()
            .unwrap_or(0)
            .min(self.threads - 1)
    }
}

/// Splits the range until single chunks are left; an idle thread takes the other half.
fn halve(from: usize, to: usize, work: &(impl Fn(usize) + Sync)) {
    if to - from == 1 {
        return work(from);
    }
    let middle = from + (to - from) / 2;
    rayon::join(|| halve(from, middle, work), || halve(middle, to, work));
}
