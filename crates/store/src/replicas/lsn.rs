//! Positions in the write-ahead log: what a replica has replayed, what a write needs it to have replayed.

use std::fmt;

use tokio_postgres::types::PgLsn;

/// A page of the log, and what its header takes: 40 bytes on the first page of a file.
const PAGE: u64 = 8192;
const HEADERS: [u64; 2] = [24, 40];

/// A position in the write-ahead log of a cluster, in bytes from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// Somewhere, perhaps later than anything known. Higher than every position.
    pub(crate) const UNKNOWN: Self = Self(u64::MAX);

    /// `16/B374D848`: the halves in hexadecimal.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (high, low) = std::str::from_utf8(text).ok()?.split_once('/')?;
        let half = |it: &str| u32::from_str_radix(it, 16).ok().map(u64::from);
        Some(Self(half(high)? << 32 | half(low)?))
    }

    /// The end of what is before this position where the next record begins: at the start of a page, that position is
    /// behind the page's header, which nobody replays before the next record comes.
    pub(crate) fn end(self) -> Self {
        let within = self.0 % PAGE;
        if self != Self::UNKNOWN && HEADERS.contains(&within) { Self(self.0 - within) } else { self }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl From<PgLsn> for Lsn {
    fn from(it: PgLsn) -> Self {
        Self(it.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_postgres_writes_them() {
        assert_eq!(Lsn::parse(b"16/B374D848"), Some(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn::parse(b"0/0"), Some(Lsn::ZERO));
        for wrong in ["", "16", "16/", "/", "g/0", "0/123456789", "\u{ff}/0"] {
            assert_eq!(Lsn::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_s_header_is_no_part_of_what_was_written() {
        for (position, end) in
            [(0x2000, 0x2000), (0x2018, 0x2000), (0x0100_0028, 0x0100_0000), (0x2040, 0x2040)]
        {
            assert_eq!(Lsn(position).end(), Lsn(end), "{position:x}");
        }
        assert_eq!(Lsn::UNKNOWN.end(), Lsn::UNKNOWN);
    }
}
