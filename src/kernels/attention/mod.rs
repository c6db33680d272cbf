//! Flash attention on the CPU: softmax(Q Kᵀ / √head_dim) V, never holding a whole matrix of scores.
//!
//! [`dense`] attends within one sequence (the encoder), [`cross`] reads a window's packed keys and
//! values, [`growing`] a decoder's cache. Queries and outputs are rows of `heads × head_dim` floats. A
//! query's output has the same bits whatever else is in the call and however many threads there are.

#![expect(unsafe_code, reason = "tasks write disjoint parts of one output")]

mod cache;
mod growing;
mod pack;
mod panels;
mod products;
mod scheme;
#[cfg(test)]
mod tests;
mod tile;
mod weights;

pub use cache::{CrossKv, GroupKv, GrowingDtype, Lineage};
pub use panels::{PackedDtype, Rows};
pub use weights::cross_weights;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use self::panels::PackedKv;
use self::scheme::{Exact, NarrowBytes, Scheme, WideBytes};
use self::tile::{QueryChunk, TileScratch, attend_chunk};
use super::pool::SharedSlice;
use super::simd::{Simd, Task, dispatch};
use super::storage::lend;
use super::{Cpu, SimdLevel};

thread_local! {
    static SCRATCH: Cell<TileScratch> = Cell::default();
}

/// Memory that [`dense`] keeps from call to call.
#[derive(Default)]
pub struct Workspace(Option<PackedKv>);

/// Queries of one window: `cache` is read once for all of them.
#[derive(Clone, Copy)]
pub struct CrossQueries<'a> {
    /// What they attend to.
    pub cache: &'a CrossKv,
    /// How many, one after another in the call's rows.
    pub count: usize,
}

/// Queries of one decoder row.
#[derive(Clone, Copy)]
pub struct GrowingQueries<'a> {
    /// The window's cache.
    pub cache: &'a GroupKv,
    /// Whose history is where in the cache.
    pub lineage: &'a Lineage,
    /// The row's beam.
    pub beam: usize,
    /// How many, one after another in the call's rows.
    pub count: usize,
    /// Positions of the history that the row sees in all.
    pub kv_len: usize,
}

/// QueryChunk from which on a row's history is packed first instead of read position by position.
const MANY: usize = 4;
/// Queries of a window from which on a head takes longer to compute than to read.
const MOST_FEW: usize = 8;
/// QueryChunk per task of a long sequence.
const CHUNK: usize = 96;
/// Multiplications below which waking other threads costs more than it brings.
const SMALL: usize = 1 << 16;

/// Attention within one sequence; `out` is `(q.count, heads × head_dim)`.
///
/// With `causal`, query `i` of `n` sees keys `0 ..= m - n + i` of `m`. A query that sees nothing gives 0.
///
/// # Panics
/// Where a slice is too short.
pub fn dense(
    cpu: &Cpu,
    dtype: PackedDtype,
    [q, k, v]: [Rows; 3],
    (heads, head_dim): (usize, usize),
    causal: bool,
    workspace: &mut Workspace,
    out: &mut [f32],
) {
    let fits = |packed: &PackedKv| packed.fits(dtype, k.count, heads, head_dim);
    let packed = match workspace.0.take().filter(fits) {
        Some(mut packed) => {
            packed.fill(cpu, k, v);
            packed
        }
        None => PackedKv::pack(cpu, dtype, k, v, heads, head_dim),
    };
    let how = match dtype {
        PackedDtype::F32 => How::Exact,
        PackedDtype::I8 => How::NarrowBytes,
    };
    let visible = causal.then(|| k.count as isize - q.count as isize + 1);
    let group = Group {
        packed: &packed,
        rows: 0..q.count,
        visible,
    };
    attend_groups(cpu, how, q, (heads, head_dim), &[group], out);
    workspace.0 = Some(packed);
}

/// Attention to windows' cross-attention caches; `out` is `(q.count, heads × head_dim)`.
///
/// With `causal`, as for [`dense`], within each group of queries.
///
/// # Panics
/// Where a slice is too short, or a cache has other heads or was packed at a level that multiplies bytes otherwise.
pub fn cross(
    cpu: &Cpu,
    q: Rows,
    (heads, head_dim): (usize, usize),
    queries: &[CrossQueries],
    causal: bool,
    out: &mut [f32],
) {
    let mut first = 0;
    let groups = queries.iter().map(|queries| {
        let packed = queries.cache.packed();
        assert_eq!(
            (packed.heads.len(), packed.head_dim),
            (heads, head_dim),
            "the cache's heads"
        );
        let rows = first..first + queries.count;
        first = rows.end;
        let visible = causal.then(|| packed.positions as isize - queries.count as isize + 1);
        Group {
            packed,
            rows,
            visible,
        }
    });
    // Beams of a window come one after another and read its keys and values together.
    let mut joined: Vec<Group> = Vec::with_capacity(queries.len());
    for group in groups {
        match joined.last_mut() {
            Some(last) if !causal && std::ptr::eq(last.packed, group.packed) => {
                last.rows.end = group.rows.end;
            }
            _ => joined.push(group),
        }
    }
    // One call may mix dtypes, if a caller likes.
    for (dtype, how) in [
        (PackedDtype::F32, How::Exact),
        (PackedDtype::I8, How::WideBytes),
    ] {
        let fits = |group: &&Group| dtype == group.packed.dtype;
        let groups: Vec<Group> = joined.iter().filter(fits).cloned().collect();
        attend_groups(cpu, how, q, (heads, head_dim), &groups, out);
    }
}

/// Attention to decoder rows' growing caches; `out` is `(q.count, heads × head_dim)`.
///
/// With `causal`, query `i` of a row's `n` sees its first `kv_len - n + i + 1` positions.
///
/// # Panics
/// Where a slice is too short, or a row's history is not in its cache.
pub fn growing(
    cpu: &Cpu,
    q: Rows,
    (heads, head_dim): (usize, usize),
    queries: &[GrowingQueries],
    causal: bool,
    out: &mut [f32],
) {
    let mut few = Vec::with_capacity(queries.len());
    let mut first = 0;
    for row in queries {
        assert_eq!(
            (row.cache.heads(), row.cache.head_dim()),
            (heads, head_dim),
            "the cache's heads"
        );
        let rows = first..first + row.count;
        first = rows.end;
        let visible = causal.then(|| row.kv_len as isize - row.count as isize + 1);
        if row.count < MANY {
            few.push((row, rows, visible));
        } else {
            let packed = pack_history(cpu, row);
            let group = Group {
                packed: &packed,
                rows,
                visible,
            };
            attend_groups(cpu, How::Exact, q, (heads, head_dim), &[group], out);
        }
    }
    let work: usize = few
        .iter()
        .map(|(row, ..)| row.count * row.kv_len * heads * head_dim * 2)
        .sum();
    // A thread's heads lie one behind the other, so that asking for the next one's numbers is worth it.
    let tasks = if work < SMALL {
        1
    } else {
        heads.min(cpu.threads())
    };
    let shared = SharedSlice::new(out);
    run_tasks(cpu, work, tasks, |task| {
        let growing = Growing {
            q,
            shape: (heads, head_dim),
            rows: &few,
            heads: task * heads / tasks..(task + 1) * heads / tasks,
            out: &shared,
        };
        dispatch(cpu.level(), growing);
    });
}

/// A row's history as plain packed keys and values.
fn pack_history(cpu: &Cpu, row: &GrowingQueries) -> PackedKv {
    let (heads, head_dim) = (row.cache.heads(), row.cache.head_dim());
    let keys = row.cache.keys(row.lineage, row.beam, row.kv_len);
    let values = row.cache.values(row.lineage, row.beam, row.kv_len);
    PackedKv::pack_by_head(cpu, &keys, &values, row.kv_len, heads, head_dim)
}

/// Rows that attend to the same keys and values.
#[derive(Clone)]
struct Group<'a> {
    packed: &'a PackedKv,
    rows: Range<usize>,
    /// How many keys the first row sees, if each later one sees one more.
    visible: Option<isize>,
}

/// Which [`Scheme`] to use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Exact,
    WideBytes,
    NarrowBytes,
}

/// Does `tasks` tasks on the pool, or here if there is little work.
fn run_tasks(cpu: &Cpu, work: usize, tasks: usize, body: impl Fn(usize) + Sync) {
    if work < SMALL {
        (0..tasks).for_each(body);
    } else {
        cpu.pool().run(tasks, body);
    }
}

fn attend_groups(
    cpu: &Cpu,
    how: How,
    q: Rows,
    (heads, head_dim): (usize, usize),
    groups: &[Group],
    out: &mut [f32],
) {
    // Head by head, so that a head's keys and values stay in the cache for all its queries.
    let mut tasks = Vec::new();
    let mut work = 0;
    let one_sign = pack::one_sign(cpu);
    for group in groups {
        assert_eq!(
            group.packed.one_sign, one_sign,
            "keys and values packed at a level that multiplies bytes alike"
        );
        work += group.rows.len() * group.packed.positions * heads * head_dim * 2;
        for head in 0..heads {
            tasks.extend(
                group
                    .rows
                    .clone()
                    .step_by(CHUNK)
                    .map(|first| (group, head, first)),
            );
        }
    }
    let shared = SharedSlice::new(out);
    // Few queries wait for memory, which follows best where a thread's heads lie one behind the other.
    let few = groups.iter().all(|group| group.rows.len() < MOST_FEW);
    let parts = if few { cpu.threads() } else { tasks.len() }.min(tasks.len());
    run_tasks(cpu, work, parts, |part| {
        lend(&SCRATCH, |scratch| {
            let stretch = part * tasks.len() / parts..(part + 1) * tasks.len() / parts;
            for (group, head, first) in &tasks[stretch] {
                let queries = QueryChunk {
                    rows: q,
                    column: head * head_dim,
                    first: *first,
                    count: CHUNK.min(group.rows.end - first),
                    visible: group
                        .visible
                        .map(|seen| seen + (first - group.rows.start) as isize),
                };
                let job = ChunkTask {
                    packed: group.packed,
                    head: *head,
                    queries,
                    out: &shared,
                };
                job.run(cpu.level(), how, scratch);
            }
        });
    });
}

/// The numbers of one head in a row of outputs.
///
/// # Safety
/// Nobody else holds this part of the output.
#[expect(
    clippy::mut_from_ref,
    reason = "the parts of an output are lent one by one"
)]
unsafe fn head_of_row<'a>(
    out: &'a SharedSlice<f32>,
    (heads, head_dim): (usize, usize),
    row: usize,
    head: usize,
) -> &'a mut [f32] {
    let start = (row * heads + head) * head_dim;
    // SAFETY: as the caller promises.
    unsafe { out.range(start..start + head_dim) }
}

/// Some queries of one head.
struct ChunkTask<'a> {
    packed: &'a PackedKv,
    head: usize,
    queries: QueryChunk<'a>,
    out: &'a SharedSlice<'a, f32>,
}

impl ChunkTask<'_> {
    fn run(&self, level: SimdLevel, how: How, scratch: &mut TileScratch) {
        match how {
            How::Exact => dispatch(level, Tiles(self, scratch, PhantomData::<Exact>)),
            How::WideBytes => dispatch(level, Tiles(self, scratch, PhantomData::<WideBytes>)),
            How::NarrowBytes => dispatch(level, Tiles(self, scratch, PhantomData::<NarrowBytes>)),
        }
    }
}

/// A chunk of queries in one [`Scheme`].
struct Tiles<'a, S>(&'a ChunkTask<'a>, &'a mut TileScratch, PhantomData<S>);

impl<S: Scheme> Task for Tiles<'_, S> {
    /// As many vectors of columns as fit the registers beside six left rows.
    #[inline(always)]
    fn run<V: Simd>(self, v: V) {
        match V::TILE_COLUMNS {
            4 => tiles::<V, S, 4>(v, self.0, self.1),
            _ => tiles::<V, S, 1>(v, self.0, self.1),
        }
    }
}

#[inline(always)]
fn tiles<V: Simd, S: Scheme, const N: usize>(v: V, chunk: &ChunkTask, scratch: &mut TileScratch) {
    let ChunkTask {
        packed,
        head,
        queries,
        out,
    } = *chunk;
    let shape = (packed.heads.len(), packed.head_dim);
    let write = |i: usize, x: &[f32]| {
        // SAFETY: each query and head belongs to exactly one task, which holds one such part at a time.
        let to = unsafe { head_of_row(out, shape, queries.first + i, head) };
        to.copy_from_slice(x);
    };
    attend_chunk::<V, S, N>(v, packed, head, queries, scratch, write);
}

/// Decoder self-attention of some heads of some rows.
struct Growing<'a> {
    q: Rows<'a>,
    shape: (usize, usize),
    /// A decoder row, its queries among all, and how many positions the first of them sees.
    rows: &'a [(&'a GrowingQueries<'a>, Range<usize>, Option<isize>)],
    heads: Range<usize>,
    out: &'a SharedSlice<'a, f32>,
}

impl Task for Growing<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut scores = Vec::new();
        let head_dim = self.shape.1;
        for head in self.heads {
            for (row, queries, visible) in self.rows {
                for (i, query) in queries.clone().enumerate() {
                    let all = row.kv_len as isize;
                    let seen = visible.map_or(all, |first| (first + i as isize).clamp(0, all));
                    // SAFETY: each query and head belongs to exactly one task, which holds one such part
                    // at a time.
                    let out = unsafe { head_of_row(self.out, self.shape, query, head) };
                    let query = self.q.part(query, head * head_dim, head_dim);
                    let place = (row.beam, head, seen as usize);
                    growing::attend_one(s, row.cache, row.lineage, place, query, &mut scores, out);
                }
            }
        }
    }
}
