//! Frames on their way to a socket, in order; large ones are shared with other sockets.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// Room that is kept while nothing waits.
const KEPT: usize = 4;

/// What is still to be written.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// A part of the first frame is written: the rest must follow.
    is_begun: bool,
}

impl Unwritten {
    pub(crate) fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How much waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next parts, as many as fit into `parts`: how many.
    pub(crate) fn fill<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (part, frame) in parts.iter_mut().zip(&self.frames) {
            *part = IoSlice::new(frame);
            count += 1;
        }
        count
    }

    /// So many bytes are written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        self.is_begun = self.is_begun && written == 0;
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.is_begun = self.is_begun || written > 0;
                break;
            }
            written -= first.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > KEPT {
            self.frames = VecDeque::new();
        }
    }

    /// Give up all but a frame of which a part is written already.
    pub(crate) fn forget(&mut self) {
        self.frames.truncate(usize::from(self.is_begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
    }
}
