//! Sound files, broken the same way on every run.

/// So many broken files, made of these.
pub(super) fn broken(sound: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(88_172_645_463_325_252);
    (0..count).map(|number| random.break_one(sound, number)).collect()
}

/// Xorshift (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn break_one(&mut self, sound: &[Vec<u8>], number: usize) -> Vec<u8> {
        let mut file = sound[number % sound.len()].clone();
        for _ in 0..=self.below(8) {
            // Most harm is done where a file says what it is.
            let reach = if self.below(2) == 0 { file.len().min(512) } else { file.len() };
            let at = self.below(reach);
            match self.below(6) {
                0 => file.truncate(at.max(1)),
                1 => file[at] = 0xFF,
                2 => file[at] ^= 1 << self.below(8),
                3 => drop(file.splice(at..at, std::iter::repeat_n(self.below(256) as u8, self.below(64)))),
                4 => drop(file.drain(at..(at + self.below(64)).min(file.len() - 1))),
                // The head of another kind of file before what is left of this one.
                _ => {
                    let head = &sound[self.below(sound.len())];
                    drop(file.splice(..at, head[..at.min(head.len())].iter().copied()));
                }
            }
            if file.is_empty() {
                file.push(0);
            }
        }
        file
    }
}
