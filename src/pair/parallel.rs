//! Work for each of several inputs or points, at the same time.

use std::thread;

use crate::fault;

/// The results of `work` for 0 to `n`, in order, computed by `threads` threads; 0 means one for each core.
pub fn map_parallel<T: Send>(n: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if threads == 1 {
        return (0..n).map(work).collect();
    }
    let at_once = if threads == 0 { thread::available_parallelism().map_or(2, usize::from) } else { threads };
    let mut all = Vec::with_capacity(n);
    let (places, work): (Vec<usize>, _) = ((0..n).collect(), &work);
    for some in places.chunks(at_once) {
        thread::scope(|scope| {
            let running: Vec<_> =
                some.iter().map(|&place| scope.spawn(fault::on_thread(move || work(place)))).collect();
            all.extend(
                running
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
        });
    }
    all
}
