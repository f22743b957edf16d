//! The development inbox: the last mails that were not sent because no SMTP server is configured.
//!
//! Auth writes, the control plane lists (`GET :8001/api/v1/inbox`). Bounded: the oldest mail goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// A mail that was captured instead of sent.
#[derive(Debug, Clone, Serialize)]
pub struct CapturedMail {
    /// The project that sent it.
    pub project: String,
    /// Who would have received it.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The HTML body.
    pub html: String,
    /// The first link of the body, for people who read it in a terminal.
    pub link: Option<String>,
    /// When it was captured, RFC 3339 in UTC.
    pub captured_at: String,
}

/// A bounded, shared list of captured mails; newest last.
#[derive(Debug, Clone)]
pub struct Inbox {
    mails: Arc<Mutex<VecDeque<CapturedMail>>>,
    max_mails: usize,
}

impl Inbox {
    /// An empty inbox that keeps the last `max_mails` mails.
    #[must_use]
    pub fn new(max_mails: usize) -> Self {
        Self { mails: Arc::default(), max_mails }
    }

    /// Keep `mail`; the oldest one goes when the inbox is full.
    pub fn push(&self, mail: CapturedMail) {
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        while mails.len() >= self.max_mails.max(1) {
            mails.pop_front();
        }
        mails.push_back(mail);
    }

    /// The captured mails, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<CapturedMail> {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.iter().rev().cloned().collect()
    }

    /// Forget all mails.
    pub fn clear(&self) {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_mail_goes_first() {
        let inbox = Inbox::new(2);
        for to in ["a", "b", "c"] {
            inbox.push(CapturedMail {
                project: "default".into(),
                to: to.into(),
                subject: String::new(),
                html: String::new(),
                link: None,
                captured_at: String::new(),
            });
        }
        let left: Vec<String> = inbox.list().into_iter().map(|it| it.to).collect();
        assert_eq!(left, ["c", "b"]);
    }
}
