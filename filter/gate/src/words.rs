//! Small records that all workers share: a few numbers of 64 bits, little-endian.

/// The numbers of a record; `None` if it does not have exactly so many.
pub(crate) fn read<const N: usize>(cell: &[u8]) -> Option<[u64; N]> {
    if cell.len() != 8 * N {
        return None;
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(cell.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte));
    }
    Some(words)
}

/// The bytes of a record.
pub(crate) fn write(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
