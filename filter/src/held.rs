//! What a worker has drawn of fast limits and not spent yet; see [`gate::limit::Ahead`].

use std::cell::RefCell;

use gate::limit::{Ahead, Charge, Key};

/// How many limits are held at once. A newcomer takes a place over; what was in it melts away.
const PLACES: usize = 64;

/// What is left of a limit.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    /// Requests that would pass right now.
    pub(crate) remaining: u32,
    /// Seconds until the limit is whole again.
    pub(crate) reset_s: u64,
}

struct Piece {
    key: Key,
    ahead: Ahead,
    left: Left,
}

/// The pieces of one configuration, so that a policy with other rates starts with none.
pub(crate) struct Held(RefCell<Vec<Option<Piece>>>);

impl Default for Held {
    fn default() -> Self {
        Self(RefCell::new((0..PLACES).map(|_| None).collect()))
    }
}

impl Held {
    /// Spends a charge out of what is held. Returns what is left of the limit, as far as is known
    /// here.
    pub(crate) fn spend(&self, charge: &Charge<'_>, now_us: u64) -> Option<Left> {
        let mut places = self.0.borrow_mut();
        let piece = places.get_mut(place(charge.key))?.as_mut().filter(|piece| piece.key == charge.key)?;
        if !piece.ahead.spend(charge, now_us) {
            return None;
        }
        piece.left.remaining = piece.left.remaining.saturating_sub(charge.cost);
        Some(piece.left)
    }

    /// Keeps what was drawn.
    pub(crate) fn keep(&self, key: Key, ahead: Ahead, left: Left) {
        if let Some(slot) = self.0.borrow_mut().get_mut(place(key)) {
            *slot = Some(Piece { key, ahead, left });
        }
    }
}

fn place(key: Key) -> usize {
    usize::try_from(key.slot).unwrap_or_default() % PLACES
}
