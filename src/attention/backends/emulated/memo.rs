//! What was made of windows' cross-attention caches, which every step of a window reads again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::kernels::attention::CrossKv;
use crate::kernels::emulated::History;

/// At most one history for each cache that is alive: those of other packings go when one is added.
#[derive(Default)]
pub(super) struct Memo(Mutex<Vec<(Weak<()>, Arc<History>)>>);

impl Memo {
    /// The history of what is packed in `cache`, made by `make` the first time.
    pub(super) fn history(&self, cache: &CrossKv, make: impl FnOnce() -> History) -> Arc<History> {
        let packing = cache.packing();
        // Entries are pushed whole: a panic elsewhere leaves nothing half done.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, history)) = kept.iter().find(|(of, _)| of.ptr_eq(&packing)) {
            return Arc::clone(history);
        }
        let history = Arc::new(make());
        kept.retain(|(of, _)| of.strong_count() > 0);
        kept.push((packing, Arc::clone(&history)));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;
    use crate::kernels::attention::{PackedDtype, Rows};
    use crate::kernels::emulated::{Rounding, Source};

    #[test]
    fn a_history_is_made_once_per_packing_and_goes_with_it() {
        let (cpu, data) = (Cpu::new(Some(1), None), vec![0.5; 4 * 16]);
        let rows = |count| Rows {
            data: &data,
            stride: 16,
            count,
        };
        let pack = |count| CrossKv::pack(&cpu, PackedDtype::F32, rows(count), rows(count), 1, 16);
        let (memo, made) = (Memo::default(), std::cell::Cell::new(0));
        let ask = |cache: &CrossKv| {
            let make = || {
                made.set(made.get() + 1);
                let source = Source::by_token(&data, (1, 16));
                History::new(&cpu, Rounding::F32, [source; 2], (1, 16), cache.len())
            };
            memo.history(cache, make).len()
        };
        let (mut one, two) = (pack(4), pack(3));
        assert_eq!([&one, &two, &one, &two].map(ask), [4, 3, 4, 3]);
        assert_eq!(made.get(), 2);
        one.repack(&cpu, PackedDtype::F32, rows(4), rows(4), 1, 16);
        drop(two);
        assert_eq!([&one, &one].map(ask), [4, 4]);
        assert_eq!(made.get(), 3);
        assert_eq!(memo.0.lock().unwrap().len(), 1, "of living packings only");
    }
}
