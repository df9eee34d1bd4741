//! Which datapoints of an input nearly repeat others: of the same input, or of the datanet.
//!
//! What a datanet's texts are found by ([`Bands`]: 64 bytes a row) is computed with the first ingest that asks and kept in memory
//! from then on, so that later ones read only the texts that may repeat something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use arrow_array::{StringArray, UInt64Array};
use cairn_documents::near::{self, Near};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt, TryStreamExt};
use lancedb::Table;
use lancedb::expr::{col, is_in, lit};
use lancedb::query::{ExecutableQuery, Query, QueryBase, Select};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::IngestOptions;
use crate::datapoint::Checked;
use crate::schema::Columns;
use crate::{DatanetName, IndexError};

/// A datapoint that nearly repeats another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearDuplicate {
    /// Its line in the input, from 1.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// The id of the one that it repeats, which came first.
    pub of: String,
    /// Jaccard similarity of their three-word sequences, [`LEAST`] to 1.
    pub similarity: f64,
}

/// What the texts of a datanet are found by, by place, as far as it was asked for.
#[derive(Default)]
pub(crate) struct Bands {
    /// Guards the list only, which grows at its end. Written by ingests, examinations and erasures.
    rows: Mutex<Arc<Vec<near::Bands>>>,
}

impl Bands {
    /// Those of the table's rows. Costs a scan of the texts that are not known yet.
    async fn of(
        &self,
        name: &DatanetName,
        table: &Table,
        options: &IngestOptions,
    ) -> Result<Arc<Vec<near::Bands>>, IndexError> {
        let known = self.rows.lock().clone();
        let (have, size) = (known.len() as u64, table.count_rows(None).await? as u64);
        if have >= size {
            return Ok(known);
        }
        let new = table.query().only_if_expr(col("seq").gt_eq(lit(have)));
        let mut new = rows(name, new).await?.map_ok(|Texts { seqs, texts, .. }| {
            spawn_blocking(move || {
                let bands = texts.iter().map(|text| near::Bands::of(text.unwrap_or_default()));
                seqs.values().iter().copied().zip(bands).collect::<Vec<_>>()
            })
        });
        // A batch a core, read and computed side by side.
        let mut running = FuturesUnordered::new();
        let mut found = vec![near::Bands::default(); usize::try_from(size - have).unwrap_or(0)];
        let mut place = |computed: Vec<(u64, near::Bands)>| {
            for (seq, bands) in computed {
                if let Some(row) = seq.checked_sub(have).and_then(|at| found.get_mut(at as usize)) {
                    *row = bands;
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        while let Some(batch) = new.try_next().await? {
            options.not_cancelled()?;
            running.push(batch);
            if running.len() > cores
                && let Some(computed) = running.next().await
            {
                place(computed?);
            }
        }
        while let Some(computed) = running.next().await {
            place(computed?);
        }
        let mut whole = known.as_ref().clone();
        whole.extend(found);
        let whole = Arc::new(whole);
        let mut kept = self.rows.lock();
        // Another examination may have got further.
        if kept.len() < whole.len() {
            *kept = whole.clone();
        }
        Ok(whole)
    }

    /// Drops what was computed from texts that are erased.
    pub(crate) fn forget(&self, seqs: &[u64]) {
        let mut rows = self.rows.lock();
        let rows = Arc::make_mut(&mut rows);
        for seq in seqs {
            if let Some(row) = usize::try_from(*seq).ok().and_then(|seq| rows.get_mut(seq)) {
                *row = near::Bands::default();
            }
        }
    }
}

/// For each of `checked`, what it repeats most closely, if anything.
pub(super) async fn near_duplicates(
    name: &DatanetName,
    (table, bands): (&Table, &Bands),
    checked: Arc<Vec<Checked>>,
    options: &IngestOptions,
) -> Result<Vec<Option<NearDuplicate>>, IndexError> {
    let of_input = checked.clone();
    let (near, mut found) = spawn_blocking(move || within(&of_input)).await?;
    let near = Arc::new(near);
    let bands = bands.of(name, table, options).await?;
    let (of_rows, total) = (near.clone(), bands.len());
    // Which of the input each row may be what it repeats of.
    let pairs = spawn_blocking(move || {
        let candidates = (0_u64..).zip(bands.iter()).map(|(seq, bands)| (seq, of_rows.candidates(bands)));
        candidates.filter(|(_, drafts)| !drafts.is_empty()).collect::<BTreeMap<u64, Vec<usize>>>()
    });
    let pairs = Arc::new(pairs.await?);
    let seqs: Vec<u64> = pairs.keys().copied().collect();
    let queries: Vec<Query> = if seqs.len() > total / SCAN_BESIDE {
        vec![table.query()]
    } else {
        let among = |some: &[u64]| is_in(col("seq"), some.iter().map(|seq| lit(*seq)).collect());
        seqs.chunks(LOOKED_UP).map(|some| table.query().only_if_expr(among(some))).collect()
    };
    for query in queries {
        let mut batches = rows(name, query).await?;
        while let Some(Texts { seqs, ids, texts }) = batches.try_next().await? {
            options.not_cancelled()?;
            let (near, checked, pairs) = (near.clone(), checked.clone(), pairs.clone());
            found = spawn_blocking(move || {
                for ((seq, id), text) in seqs.values().iter().zip(ids.iter()).zip(texts.iter()) {
                    let (Some(id), Some(text), Some(drafts)) = (id, text, pairs.get(seq)) else { continue };
                    // An erased datapoint has none.
                    if !text.is_empty() {
                        compare(&near, &checked, drafts, (id, text), &mut found);
                    }
                }
                found
            })
            .await?;
        }
    }
    Ok(found)
}

/// Places, ids and texts of some rows.
struct Texts {
    seqs: UInt64Array,
    ids: StringArray,
    texts: StringArray,
}

async fn rows(
    name: &DatanetName,
    query: Query,
) -> Result<impl Stream<Item = Result<Texts, IndexError>> + use<>, IndexError> {
    let batches = query.select(Select::columns(&["seq", "id", "text"])).execute().await?;
    let name = name.clone();
    Ok(batches.map_err(IndexError::from).and_then(move |batch| {
        let columns = Columns { datanet: &name, batch: &batch };
        let read = || -> Result<Texts, IndexError> {
            let (seqs, ids, texts) = (columns.u64s("seq")?, columns.texts("id")?, columns.texts("text")?);
            Ok(Texts { seqs: seqs.clone(), ids: ids.clone(), texts: texts.clone() })
        };
        std::future::ready(read())
    }))
}

/// Those that repeat an earlier one of the input, and what the datanet's texts are compared with. Blocking.
fn within(checked: &[Checked]) -> (Near, Vec<Option<NearDuplicate>>) {
    let mut bands = vec![near::Bands::default(); checked.len()];
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let part = checked.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        for (bands, checked) in bands.chunks_mut(part).zip(checked.chunks(part)) {
            scope.spawn(move || {
                for (bands, draft) in bands.iter_mut().zip(checked) {
                    *bands = near::Bands::of(&draft.text);
                }
            });
        }
    });
    let mut near = Near::new(LEAST);
    let mut found = vec![None; checked.len()];
    for ((draft, bands), found) in checked.iter().zip(&bands).zip(&mut found) {
        for earlier in near.candidates(bands) {
            let earlier = &checked[earlier];
            if let Some(similarity) = near.similar(&draft.text, &earlier.text) {
                closest(found, draft, earlier.id.as_str(), similarity);
            }
        }
        near.add(bands);
    }
    (near, found)
}

fn compare(
    near: &Near,
    checked: &[Checked],
    drafts: &[usize],
    (id, text): (&str, &str),
    found: &mut [Option<NearDuplicate>],
) {
    for number in drafts {
        let draft = &checked[*number];
        if let Some(similarity) = near.similar(&draft.text, text) {
            closest(&mut found[*number], draft, id, similarity);
        }
    }
}

fn closest(found: &mut Option<NearDuplicate>, draft: &Checked, of: &str, similarity: f64) {
    if found.as_ref().is_none_or(|known| known.similarity < similarity) {
        *found = Some(NearDuplicate { line: draft.line, id: draft.id.to_string(), of: of.to_owned(), similarity });
    }
}

/// From this similarity on a text repeats another: of thirty words, two may differ.
const LEAST: f64 = 0.8;
/// Places of one look-up.
const LOOKED_UP: usize = 1000;
/// Looking up so many rows one by one costs about as much as scanning all.
const SCAN_BESIDE: usize = 20;
