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
    match options.max_steps {
        Some(steps) => steps,
        // How rows are packed depends on their order; how many there are without does not.
        None if options.packing => (0..options.epochs).map(|at| epoch(lengths, options, at).len()).sum(),
        None => options.epochs * lengths.len().div_ceil(options.batch_size).div_ceil(options.gradient_accumulation),
    }
}

/// Tokens of all steps of a run: exactly for as many epochs as are looked at, those beyond taken to be as long.
pub(crate) fn tokens(lengths: &[usize], options: &TrainOptions) -> usize {
    let (steps, all) = (steps(lengths, options), lengths.iter().sum::<usize>());
    let mut left = steps;
    for at in 0..LOOKED_AT {
        let order = epoch(lengths, options, at);
        if left <= order.len() {
            return at * all + tokens_of(&order[..left], lengths);
        }
        left -= order.len();
    }
    let whole = (steps - left).max(1);
    (LOOKED_AT as f64 * all as f64 * steps as f64 / whole as f64) as usize
}

/// Most tokens that go through the model together.
pub(crate) fn largest(lengths: &[usize], options: &TrainOptions) -> usize {
    if options.packing {
        return lengths.iter().sum::<usize>().min(options.batch_size * options.max_length);
    }
    longest(lengths, options.batch_size)
}

/// Tokens of the longest examples.
pub(crate) fn longest(lengths: &[usize], examples: usize) -> usize {
    let mut lengths = lengths.to_vec();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.iter().take(examples).sum()
}

fn tokens_of(steps: &[Vec<Vec<usize>>], lengths: &[usize]) -> usize {
    steps.iter().flatten().flatten().map(|example| lengths[*example]).sum()
}

/// Evaluations on the way, the one after the last step included.
pub(crate) fn evaluations(lengths: &[usize], options: &TrainOptions) -> usize {
    let steps = steps(lengths, options);
    let every = options.eval_every.unwrap_or_else(|| epoch(lengths, options, 0).len());
    steps.div_ceil(every.max(1))
}

/// The stream of the order.
const ORDER: u64 = 0x0003;

/// Epochs that a forecast draws.
const LOOKED_AT: usize = 8;

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
                super::evaluations(&lengths, &TrainOptions { eval_every: Some(3), ..shorter.clone() }),
                (first.len() + 1).div_ceil(3)
            );
            // A run that goes on far beyond what is looked at is foretold by what was.
            let far = TrainOptions { max_steps: Some(1000 * first.len()), ..shorter };
            let foretold = super::tokens(&lengths, &far) as f64;
            assert!((foretold / (1000 * all) as f64 - 1.0).abs() < 0.1, "{foretold}");
            let batches = [first.concat(), second.concat()].concat();
            let most = batches.iter().map(|batch| batch.iter().map(|i| lengths[*i]).sum::<usize>()).max();
            assert!(most <= Some(super::largest(&lengths, &far)));
            if packing {
                let tokens = |batch: &Vec<usize>| batch.iter().map(|i| lengths[*i]).sum::<usize>();
                assert!(first.concat().iter().all(|batch| tokens(batch) <= 4 * 64));
                assert!(first.concat().len() * 4 < 70, "rows are filled");
            }
        }
    }
}
