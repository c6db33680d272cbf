//! Attention over plain numbers: softmax(Q Kᵀ / √head_dim) V, never holding a whole matrix of scores.
//!
//! [`dense`] attends within one sequence (the encoder), [`cross`] reads a window's packed keys and
//! values, [`growing`] a decoder's cache. QueryChunk and outputs are rows of `heads × head_dim` floats. A
//! query's output has the same bits whatever else is in the call and however many threads there are.

mod cache;
mod growing;
mod pack;
mod panels;
mod scheme;
#[cfg(test)]
mod tests;
mod tile;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use cache::{CrossKv, GroupKv, GrowingDtype, Lineage};
pub use panels::{PackedDtype, Rows};

use std::ops::Range;

use self::panels::PackedKv;
use self::scheme::{Exact, NarrowBytes, Scheme, WideBytes};
use self::tile::{QueryChunk, TileScratch, attend_chunk};
use self::vector::{Scalar, Vector};
#[cfg(target_arch = "x86_64")]
use self::x86_64::{Avx2, Avx512};
use super::level::Isa;
use super::pool::SharedSlice;
use super::{Cpu, SimdLevel};

/// Memory that [`dense`] keeps from call to call.
#[derive(Default)]
pub struct Workspace(Option<PackedKv>);

/// QueryChunk of one window: `cache` is read once for all of them.
#[derive(Clone, Copy)]
pub struct CrossQueries<'a> {
    /// What they attend to.
    pub cache: &'a CrossKv,
    /// How many, one after another in the call's rows.
    pub count: usize,
}

/// QueryChunk of one decoder row.
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
/// Where a slice is too short or a cache has other heads.
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
    let tasks = if work < SMALL { 1 } else { heads };
    let shared = SharedSlice::new(out);
    run_tasks(cpu, work, tasks, |task| {
        let mut scores = Vec::new();
        for head in task * heads / tasks..(task + 1) * heads / tasks {
            for (row, rows, visible) in &few {
                for (i, query) in rows.clone().enumerate() {
                    let all = row.kv_len as isize;
                    let seen = visible.map_or(all, |first| (first + i as isize).clamp(0, all));
                    let out = head_of_row(&shared, (heads, head_dim), query, head);
                    let query = q.part(query, head * head_dim, head_dim);
                    let place = (row.beam, head, seen as usize);
                    growing_one(cpu.level(), row, place, query, &mut scores, out);
                }
            }
        }
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
    for group in groups {
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
    run_tasks(cpu, work, tasks.len(), |task| {
        let (group, head, first) = &tasks[task];
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
        job.run(cpu.level(), how);
    });
}

/// The numbers of one head in a row of outputs.
#[expect(unsafe_code, reason = "tasks write disjoint parts of one output")]
#[expect(
    clippy::mut_from_ref,
    reason = "as above: the parts of an output are lent one by one"
)]
fn head_of_row<'a>(
    out: &'a SharedSlice<f32>,
    (heads, head_dim): (usize, usize),
    row: usize,
    head: usize,
) -> &'a mut [f32] {
    let start = (row * heads + head) * head_dim;
    // SAFETY: each row and head belongs to exactly one task, which holds one such part at a time.
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
    fn run(&self, level: SimdLevel, how: How) {
        match how {
            How::Exact => self.run_scheme::<Exact>(level),
            How::WideBytes => self.run_scheme::<WideBytes>(level),
            How::NarrowBytes => self.run_scheme::<NarrowBytes>(level),
        }
    }

    #[expect(unsafe_code, reason = "enters code for a probed instruction set")]
    fn run_scheme<S>(&self, level: SimdLevel)
    where
        S: Scheme<Scalar> + Scheme<Avx2> + Scheme<Avx512<false>> + Scheme<Avx512<true>>,
    {
        match level.isa() {
            Isa::Scalar => tiles::<Scalar, S, 2>(self),
            // SAFETY: the level proves that the CPU has these instructions.
            Isa::Avx2 => unsafe { tiles_avx2::<S>(self) },
            // SAFETY: as above.
            Isa::Avx512 => unsafe { tiles_avx512::<S>(self) },
            // SAFETY: as above.
            Isa::Avx512Vnni => unsafe { tiles_vnni::<S>(self) },
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tiles_avx2<S: Scheme<Avx2>>(job: &ChunkTask) {
    tiles::<Avx2, S, 2>(job);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn tiles_avx512<S: Scheme<Avx512<false>>>(job: &ChunkTask) {
    tiles::<Avx512<false>, S, 4>(job);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn tiles_vnni<S: Scheme<Avx512<true>>>(job: &ChunkTask) {
    tiles::<Avx512<true>, S, 4>(job);
}

/// `N` vectors of columns fill the registers beside six left rows.
#[inline(always)]
fn tiles<V: Vector, S: Scheme<V>, const N: usize>(job: &ChunkTask) {
    let ChunkTask {
        packed,
        head,
        queries,
        out,
    } = *job;
    let shape = (packed.heads.len(), packed.head_dim);
    let write = |i: usize, x: &[f32]| {
        head_of_row(out, shape, queries.first + i, head).copy_from_slice(x);
    };
    attend_chunk::<V, S, N>(packed, head, queries, &mut TileScratch::default(), write);
}

#[expect(unsafe_code, reason = "enters code for a probed instruction set")]
fn growing_one(
    level: SimdLevel,
    row: &GrowingQueries,
    place: (usize, usize, usize),
    query: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (cache, lineage) = (row.cache, row.lineage);
    match level.isa() {
        Isa::Scalar => growing::attend_one::<Scalar>(cache, lineage, place, query, scores, out),
        // SAFETY: the level proves that the CPU has these instructions.
        Isa::Avx2 => unsafe { growing_avx2(cache, lineage, place, query, scores, out) },
        // SAFETY: as above; both levels have what this needs.
        Isa::Avx512 | Isa::Avx512Vnni => unsafe {
            growing_avx512(cache, lineage, place, query, scores, out);
        },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn growing_avx2(
    cache: &GroupKv,
    lineage: &Lineage,
    place: (usize, usize, usize),
    query: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    growing::attend_one::<Avx2>(cache, lineage, place, query, scores, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn growing_avx512(
    cache: &GroupKv,
    lineage: &Lineage,
    place: (usize, usize, usize),
    query: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    growing::attend_one::<Avx512<false>>(cache, lineage, place, query, scores, out);
}
