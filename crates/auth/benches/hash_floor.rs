//! What password hashing alone allows on this machine: comparisons per second with as many threads as the server uses.
//! The floor that `tests/load/auth` measures sign-ins against; prints one JSON line.
//!
//! `hashes_per_sec` is the library's own comparison, which gets its memory anew for each hash; `with_memory_kept` keeps
//! the memory of each thread, as the server does.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Block, Params, Version};

const PASSWORD: &[u8] = b"correct horse battery staple";
const LASTS: Duration = Duration::from_secs(5);

fn main() {
    let config = auth::Config::default();
    let params = Params::new(config.argon2_memory_kib, config.argon2_passes, 1, None).unwrap();
    let blocks = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let text = argon2.hash_password(PASSWORD).unwrap().to_string();
    let threads = config.hashing_threads;
    let library = rate(threads, || {
        let (argon2, hash) = (argon2.clone(), PasswordHash::new(&text).unwrap());
        move || argon2.verify_password(PASSWORD, &hash).unwrap()
    });
    let kept = rate(threads, || {
        let (argon2, hash) = (argon2.clone(), PasswordHash::new(&text).unwrap());
        let (mut memory, mut out) = (vec![Block::new(); blocks], [0; Params::DEFAULT_OUTPUT_LEN]);
        move || {
            let salt = hash.salt.as_ref().unwrap();
            argon2.hash_password_into_with_memory(PASSWORD, salt, &mut out, &mut memory).unwrap();
            assert_eq!(out.as_slice(), hash.hash.as_ref().unwrap().as_ref());
        }
    });
    println!("{{\"threads\": {threads}, \"hashes_per_sec\": {library:.2}, \"with_memory_kept\": {kept:.2}}}");
}

/// How often per second `threads` threads do together what `make` makes for each of them.
fn rate<W: FnMut() + Send + 'static>(threads: usize, make: impl Fn() -> W) -> f64 {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let (mut work, stop, count) = (make(), Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    std::thread::sleep(LASTS);
    stop.store(true, Ordering::Relaxed);
    running.into_iter().for_each(|it| it.join().unwrap());
    f64::from(u32::try_from(count.load(Ordering::Relaxed)).unwrap()) / started.elapsed().as_secs_f64()
}
