//! The order in which examples are learnt: a function of the seed, the epoch and the lengths, so that a resumed run needs no
//! more than the number of its last step.

use crate::{TrainOptions, random::Key};

/// The steps of an epoch; each has batches, each of those examples by their place in the data.
pub(crate) type Epoch = Vec<Vec<Vec<usize>>>;

/// Orders one epoch.
pub(crate) fn epoch(lengths: &[usize], options: &TrainOptions, epoch: usize) -> Epoch {
    let order = Key::new(options.seed).with(ORDER).with(epoch as u64).shuffled(lengths.len());
    let rows: Vec<Vec<usize>> = if options.packing {
        pack(&order, lengths, options.max_length)
    } else {
        order.into_iter().map(|i| vec![i]).collect()
    };
    let batches: Vec<Vec<usize>> = rows.chunks(options.batch_size).map(<[Vec<usize>]>::concat).collect();
    batches.chunks(options.gradient_accumulation).map(<[Vec<usize>]>::to_vec).collect()
}

/// Steps of a whole run.
pub(crate) fn steps(lengths: &[usize], options: &TrainOptions) -> usize {
    options.max_steps.unwrap_or_else(|| (0..options.epochs).map(|at| epoch(lengths, options, at).len()).sum())
}

/// Tokens of all steps of a run.
pub(crate) fn tokens(lengths: &[usize], options: &TrainOptions) -> usize {
    let epochs = (0..).flat_map(|at| epoch(lengths, options, at));
    epochs.take(steps(lengths, options)).flatten().flatten().map(|example| lengths[example]).sum()
}

/// Evaluations on the way, the one after the last step included.
pub(crate) fn evaluations(lengths: &[usize], options: &TrainOptions) -> usize {
    let steps = steps(lengths, options);
    let every = options.eval_every.unwrap_or_else(|| epoch(lengths, options, 0).len());
    steps.div_ceil(every.max(1))
}

/// The stream of the order.
const ORDER: u64 = 0x0003;

/// Rows that are open at a time.
const OPEN: usize = 32;

/// Each example into the first open row that has room.
fn pack(order: &[usize], lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut full = Vec::new();
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for example in order {
        let length = lengths[*example];
        if let Some((used, row)) = open.iter_mut().find(|(used, _)| used + length <= most) {
            *used += length;
            row.push(*example);
            continue;
        }
        if open.len() == OPEN {
            full.push(open.remove(0).1);
        }
        open.push((length, vec![*example]));
    }
    full.extend(open.into_iter().map(|(_, row)| row));
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_learnt_once_an_epoch() {
        let lengths: Vec<usize> = (0..103).map(|i| 1 + i * 37 % 60).collect();
        for packing in [false, true] {
            let options = TrainOptions { packing, max_length: 64, epochs: 2, ..TrainOptions::default() };
            let [first, second] = [0, 1].map(|at| epoch(&lengths, &options, at));
            for steps in [&first, &second] {
                let mut all: Vec<usize> = steps.concat().concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..103));
                assert!(steps.iter().all(|step| (1..=4).contains(&step.len())));
            }
            assert!(first != second && first == epoch(&lengths, &options, 0));
            assert_eq!(super::steps(&lengths, &options), first.len() + second.len());
            let all: usize = lengths.iter().sum();
            assert_eq!(super::tokens(&lengths, &options), 2 * all);
            assert_eq!(super::evaluations(&lengths, &options), 2);
            let shorter = TrainOptions { max_steps: Some(first.len() + 1), ..options };
            let more: usize = second[0].concat().iter().map(|example| lengths[*example]).sum();
            assert_eq!(super::tokens(&lengths, &shorter), all + more);
            assert_eq!(
                super::evaluations(&lengths, &TrainOptions { eval_every: Some(3), ..shorter }),
                (first.len() + 1).div_ceil(3)
            );
            if packing {
                let tokens = |batch: &Vec<usize>| batch.iter().map(|i| lengths[*i]).sum::<usize>();
                assert!(first.concat().iter().all(|batch| tokens(batch) <= 4 * 64));
                assert!(first.concat().len() * 4 < 70, "rows are filled");
            }
        }
    }
}
