//! What password hashing alone allows on this machine: comparisons per second with as many threads as the server uses.
//! The floor that `tests/load/auth` measures sign-ins against; prints one JSON line.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

const LASTS: Duration = Duration::from_secs(6);

fn main() {
    let config = auth::Config::default();
    let params = Params::new(config.argon2_memory_kib, config.argon2_passes, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(b"correct horse battery staple").unwrap().to_string();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let threads: Vec<_> = (0..config.hashing_threads)
        .map(|_| {
            let (argon2, hash) = (argon2.clone(), hash.clone());
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                let hash = PasswordHash::new(&hash).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    argon2.verify_password(b"correct horse battery staple", &hash).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    std::thread::sleep(LASTS);
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|it| it.join().unwrap());
    let per_sec =
        f64::from(u32::try_from(count.load(Ordering::Relaxed)).unwrap()) / started.elapsed().as_secs_f64();
    println!("{{\"threads\": {}, \"hashes_per_sec\": {per_sec:.2}}}", config.hashing_threads);
}
