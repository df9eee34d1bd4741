//! [`pack()`]: several short examples in one row of tokens, so that no step is spent on padding.
//!
//! Attention and positions are kept within each example by the lengths that come with a row; nothing is cut.

/// One packed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Places of the examples, in the order in which they are in the row.
    pub examples: Vec<usize>,
    /// Tokens of each.
    pub lengths: Vec<usize>,
}

impl Packed {
    /// Tokens of the row.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// Packs examples of these lengths by first fit: each goes into the first row with room for it, in the order given; the same
/// order gives the same rows. One that is longer than `max_length` has a row of its own.
#[must_use]
pub fn pack(lengths: &[usize], max_length: usize) -> Vec<Packed> {
    let mut rows: Vec<Packed> = Vec::new();
    // A tree over the room in each row, the most room of two at their parent: the first fit is found in log n steps.
    let leaves = lengths.len().next_power_of_two();
    let mut room = vec![max_length; 2 * leaves];
    for (example, &length) in lengths.iter().enumerate() {
        if length > max_length {
            continue;
        }
        let mut node = 1;
        while node < leaves {
            node = if room[2 * node] >= length { 2 * node } else { 2 * node + 1 };
        }
        room[node] -= length;
        let row = node - leaves;
        if row == rows.len() {
            rows.push(Packed { examples: Vec::new(), lengths: Vec::new() });
        }
        rows[row].examples.push(example);
        rows[row].lengths.push(length);
        while node > 1 {
            node /= 2;
            room[node] = room[2 * node].max(room[2 * node + 1]);
        }
    }
    let long = lengths.iter().enumerate().filter(|(_, length)| **length > max_length);
    rows.extend(long.map(|(example, &length)| Packed { examples: vec![example], lengths: vec![length] }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_first_fit() {
        let lengths: Vec<usize> = (0..500).map(|i| 1 + (i * 7919) % 97).collect();
        let mut expected: Vec<Packed> = Vec::new();
        for (example, &length) in lengths.iter().enumerate() {
            let fits = expected.iter_mut().find(|row| row.tokens() + length <= 128);
            match fits {
                Some(row) => {
                    row.examples.push(example);
                    row.lengths.push(length);
                }
                None => expected.push(Packed { examples: vec![example], lengths: vec![length] }),
            }
        }
        assert_eq!(pack(&lengths, 128), expected);
        let tokens: usize = lengths.iter().sum();
        assert!(expected.len() * 128 < tokens * 11 / 10, "less than a tenth is left empty");
    }

    #[test]
    fn nothing_is_lost() {
        assert!(pack(&[], 8).is_empty());
        let rows = pack(&[3, 9, 8, 5, 0], 8);
        let places: Vec<&[usize]> = rows.iter().map(|row| row.examples.as_slice()).collect();
        assert_eq!(places, [&[0, 3, 4][..], &[2], &[1]]);
    }
}
