//! The caches of this process by name: whoever hears of an invalidation finds them here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::sync::CancellationToken;

use super::local::Local;
use super::{Key, Value};
use crate::{Messages, Notification};

/// Where invalidations are told: `{cache}\n{key}`.
pub(crate) const CHANNEL: &str = "madbase:invalidate";

/// What a registered cache can be told.
trait Forget: Send + Sync {
    fn forget_text(&self, key: &str);
    fn forget_all(&self);
}

impl<K: Key, V: Value> Forget for Local<K, V> {
    fn forget_text(&self, key: &str) {
        Self::forget_text(self, key);
    }

    fn forget_all(&self) {
        Self::forget_all(self);
    }
}

/// The caches of this process.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Vec<Weak<dyn Forget>>>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    pub(super) fn add<K: Key, V: Value>(&self, name: &str, local: &Arc<Local<K, V>>) {
        let mut caches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|_, all| {
            all.retain(|it| it.strong_count() > 0);
            !all.is_empty()
        });
        let weak: Weak<Local<K, V>> = Arc::downgrade(local);
        caches.entry(name.to_owned()).or_default().push(weak);
    }

    /// Empty every L1; the names of the caches.
    pub(crate) fn forget_all(&self) -> Vec<String> {
        let caches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caches.values().flatten().filter_map(Weak::upgrade).for_each(|it| it.forget_all());
        caches.keys().cloned().collect()
    }

    fn hear(&self, message: &str) {
        let Some((name, key)) = message.split_once('\n') else { return };
        let caches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = caches.get(name).into_iter().flatten();
        named.filter_map(Weak::upgrade).for_each(|it| it.forget_text(key));
    }
}

/// Do what is told until `ends`.
pub(crate) fn keep_hearing(mut messages: Messages, caches: Arc<Registry>, ends: CancellationToken) {
    tokio::spawn(async move {
        let hearing = async {
            while let Some(message) = messages.next().await {
                match message {
                    Notification::Message(text) => caches.hear(&text),
                    // Some may have been missed.
                    Notification::Connected => drop(caches.forget_all()),
                }
            }
        };
        tokio::select! {
            () = ends.cancelled() => {}
            () = hearing => {}
        }
    });
}
