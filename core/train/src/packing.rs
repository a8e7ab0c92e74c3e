//! Packing: the examples of one micro-batch laid end to end in as few rows as they need, so that
//! padding is not computed.
//!
//! Owns which example goes to which row, and the encoder's inputs in that order. Must not know the
//! model; attention within examples only is the encoder's doing, see [`ablate_bert::Layout`].
//!
//! The examples, their order, masks and labels stay those of the padded batch, and so does all that
//! objectives see: batches in the data hook, hidden states and labels in the graph hook. With dropout 0
//! the loss is the padded one up to the order of sums; with dropout it is as good a draw, but another
//! one, since masks are drawn by place.
//!
//! Rows are filled by first-fit decreasing (Johnson, "Near-optimal bin packing algorithms", 1973): the
//! longest example first, each into the first row with room, at equal length in the order of the batch.
//! That is at most 11/9 of the fewest possible rows and one more (Dosa, 2007).

use ablate_bert::Layout;
use ablate_graph::Feeds;

use crate::batch::PreparedBatch;

/// Numbers of rows are multiples of a sixteenth of the batch, so that at most this many programs serve
/// all micro-batches, and mostly two or three do.
const SIZES: usize = 16;

/// Where the tokens of a micro-batch lie in a packed grid `[rows, seq]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    rows: usize,
    /// What lies in each cell, row-major in the grid: the token's flat index in the batch
    /// `[batch, seq]`, or `batch * seq` for nothing.
    tokens: Vec<usize>,
    /// Where each token of the batch lies, row-major in `[batch, seq]`: its flat index in the grid, or
    /// `rows * seq` for padding, which lies nowhere.
    positions: Vec<usize>,
}

impl Packing {
    /// Packs the real (attended) tokens of a micro-batch. A function of the attention mask alone.
    pub fn of(batch: &PreparedBatch) -> Self {
        let seq = batch.seq;
        let examples: Vec<Vec<usize>> = (0..batch.batch)
            .map(|row| {
                (row * seq..(row + 1) * seq)
                    .filter(|&token| batch.attention_mask.get(token).is_some_and(|&m| m != 0))
                    .collect()
            })
            .collect();
        let lengths: Vec<usize> = examples.iter().map(Vec::len).collect();
        let filled = first_fit_decreasing(&lengths, seq);
        let rows = round_up(filled.len(), batch.batch);
        let mut tokens = vec![batch.batch * seq; rows * seq];
        let mut positions = vec![rows * seq; batch.batch * seq];
        for (row, inside) in filled.iter().enumerate() {
            let all = inside.iter().flat_map(|&example| &examples[example]);
            for (cell, &token) in (row * seq..).zip(all) {
                tokens[cell] = token;
                positions[token] = cell;
            }
        }
        Packing {
            rows,
            tokens,
            positions,
        }
    }

    /// The encoder's layout.
    pub fn layout(&self) -> Layout {
        Layout::Packed { rows: self.rows }
    }

    /// Puts the encoder's inputs into buffers that may have served before: every element is written.
    /// `batch` is the one that was packed; objectives may have changed its tokens since.
    pub(crate) fn fill(&self, batch: &PreparedBatch, feeds: &mut Feeds) {
        let seq = batch.seq;
        let nothing = batch.batch * seq;
        let mut grid = |name: &str, of: &dyn Fn(usize) -> Option<i64>| {
            let cells = feeds.buffer(name, self.tokens.len());
            for (cell, &token) in cells.iter_mut().zip(&self.tokens) {
                // Ids and places are far below 2^24, where f32 stops holding every whole number.
                *cell = of(token).unwrap_or(0) as f32;
            }
        };
        let place = |token: usize| (token < nothing).then_some(token % seq);
        let example = |token: usize| (token < nothing).then_some(token / seq + 1);
        grid("input_ids", &|token| batch.input_ids.get(token).copied());
        grid("token_type_ids", &|token| {
            batch.token_type_ids.get(token).copied()
        });
        grid("position_ids", &|token| place(token).map(|p| p as i64));
        grid("example_index", &|token| example(token).map(|e| e as i64));
        let all = feeds.buffer("token_positions", self.positions.len());
        for (place, &position) in all.iter_mut().zip(&self.positions) {
            *place = position as f32;
        }
        let first = feeds.buffer("first_positions", batch.batch);
        for (place, &position) in first.iter_mut().zip(self.positions.iter().step_by(seq)) {
            *place = position as f32;
        }
    }
}

/// For each row the examples in it. Examples of length 0 go nowhere; none is longer than `seq`.
fn first_fit_decreasing(lengths: &[usize], seq: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
    // Stable, so that equal lengths keep the order of the batch.
    order.sort_by_key(|&example| std::cmp::Reverse(lengths[example]));
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    for example in order {
        let length = lengths[example];
        match rows.iter_mut().find(|(room, _)| *room >= length) {
            Some((room, inside)) => {
                *room -= length;
                inside.push(example);
            }
            None => rows.push((seq - length, vec![example])),
        }
    }
    rows.into_iter().map(|(_, inside)| inside).collect()
}

/// The number of rows that a grid has for this many filled ones: at least one, at most `batch`, which
/// always suffices.
fn round_up(filled: usize, batch: usize) -> usize {
    let step = batch.div_ceil(SIZES).max(1);
    filled.div_ceil(step).max(1).saturating_mul(step).min(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_go_first_and_fill_the_first_row_with_room() {
        let rows = first_fit_decreasing(&[3, 8, 5, 0, 3, 2, 6], 8);
        // 8 | 6 + 2 | 5 + 3 | 3
        assert_eq!(rows, [vec![1], vec![6, 5], vec![2, 0], vec![4]]);
        assert!(first_fit_decreasing(&[0, 0], 8).is_empty());
    }

    #[test]
    fn there_are_few_numbers_of_rows() {
        assert_eq!(
            [1, 2, 3, 31, 32].map(|n| round_up(n, 32)),
            [2, 2, 4, 32, 32]
        );
        assert_eq!([0, 1, 7, 8].map(|n| round_up(n, 8)), [1, 1, 7, 8]);
        assert_eq!(round_up(17, 17), 17);
        for batch in 1..200 {
            let mut sizes: Vec<usize> = (0..=batch).map(|n| round_up(n, batch)).collect();
            assert!((0..=batch).all(|n| sizes[n] >= n));
            sizes.dedup();
            assert!(sizes.len() <= SIZES && sizes[0] >= 1 && sizes.ends_with(&[batch]));
        }
    }

    /// A batch with these attention masks, every other number its own.
    fn batch(masks: &[Vec<bool>], seq: usize) -> PreparedBatch {
        let flat = || masks.iter().flatten();
        let count = masks.len() * seq;
        PreparedBatch {
            rows: masks.len(),
            batch: masks.len(),
            seq,
            input_ids: (100..).take(count).collect(),
            token_type_ids: flat()
                .enumerate()
                .map(|(i, _)| (i % 3 == 0).into())
                .collect(),
            attention_mask: flat().map(|&m| m.into()).collect(),
            special_tokens_mask: flat().map(|m| !m).collect(),
            example_ids: vec![0; masks.len()],
            row_keys: vec![0; masks.len()],
            vocabulary: Default::default(),
            ..PreparedBatch::default()
        }
    }

    proptest! {
        #[test]
        fn every_token_lies_once_with_its_own_numbers_and_beside_its_example(
            masks in (1usize..20, 1usize..12).prop_flat_map(|(examples, seq)| {
                let mask = prop_oneof![
                    // Mostly what tokenizers make: tokens first, then padding.
                    4 => (0..=seq).prop_map(move |n| (0..seq).map(|i| i < n).collect::<Vec<_>>()),
                    1 => prop::collection::vec(any::<bool>(), seq),
                ];
                prop::collection::vec(mask, examples)
            })
        ) {
            let seq = masks[0].len();
            let batch = batch(&masks, seq);
            let packing = Packing::of(&batch);
            prop_assert_eq!(&packing, &Packing::of(&batch));
            let mut feeds = Feeds::new();
            packing.fill(&batch, &mut feeds);
            let fed = |name: &str| feeds.get(name).unwrap().to_vec();
            let (ids, types) = (fed("input_ids"), fed("token_type_ids"));
            let (places, examples) = (fed("position_ids"), fed("example_index"));
            let cells = packing.rows * seq;
            prop_assert_eq!(ids.len(), cells);

            let mut taken = vec![false; cells];
            for (token, &position) in fed("token_positions").iter().enumerate() {
                let cell = position as usize;
                if batch.attention_mask[token] == 0 {
                    prop_assert_eq!(cell, cells);
                    continue;
                }
                prop_assert!(!std::mem::replace(&mut taken[cell], true));
                prop_assert_eq!(ids[cell], batch.input_ids[token] as f32);
                prop_assert_eq!(types[cell], batch.token_type_ids[token] as f32);
                prop_assert_eq!(places[cell], (token % seq) as f32);
                prop_assert_eq!(examples[cell], (token / seq + 1) as f32);
            }
            // What lies nowhere has no example's number.
            prop_assert!((0..cells).all(|cell| taken[cell] || examples[cell] == 0.0));
            // An example is in one row, end to end.
            for example in 1..=masks.len() {
                let cells: Vec<usize> = (0..cells).filter(|&c| examples[c] == example as f32).collect();
                prop_assert!(cells.windows(2).all(|w| w[0] + 1 == w[1]));
                prop_assert!(cells.iter().all(|c| c / seq == cells[0] / seq));
            }
            let first: Vec<f32> = fed("token_positions").into_iter().step_by(seq).collect();
            prop_assert_eq!(fed("first_positions"), first);
            // The guarantee of first-fit decreasing, against the bound by volume, and the rounding.
            let real = batch.tokens() as usize;
            prop_assert!(packing.rows * seq >= real && packing.rows <= masks.len());
            let lengths: Vec<usize> =
                masks.iter().map(|m| m.iter().filter(|&&x| x).count()).collect();
            let filled = first_fit_decreasing(&lengths, seq);
            let half_full = filled.iter().filter(|row| {
                2 * row.iter().map(|&e| lengths[e]).sum::<usize>() <= seq
            });
            prop_assert!(half_full.count() <= 1);
        }
    }
}
