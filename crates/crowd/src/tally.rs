//! Counts deliveries and how long they took.

use serde_json::{Value, json};

/// Steps within each doubling of the time: figures are right to 3 %.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Deliveries since it was made.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) deliveries: u64,
    /// Out of order, twice, or to somebody who must not see it.
    pub(crate) wrong: u64,
    /// When the first and the last one came.
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
    /// Latencies: how many fell into each step.
    steps: Vec<u64>,
    most_us: u64,
}

impl Tally {
    /// A delivery of something made at `made_us` that came at `now_us`.
    pub(crate) fn add(&mut self, made_us: u64, now_us: u64) {
        if self.deliveries == 0 {
            self.first_us = now_us;
        }
        self.deliveries += 1;
        self.last_us = now_us;
        let took_us = now_us.saturating_sub(made_us);
        self.most_us = self.most_us.max(took_us);
        let step = step(took_us);
        if step >= self.steps.len() {
            self.steps.resize(step + 1, 0);
        }
        if let Some(count) = self.steps.get_mut(step) {
            *count += 1;
        }
    }

    /// Milliseconds that `per_mille` of a thousand deliveries did not exceed.
    fn quantile_ms(&self, per_mille: u64) -> f64 {
        let wanted = self.deliveries.saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.steps.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        millis(found.map_or(0, |it| bound(it).min(self.most_us)))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "deliveries": self.deliveries, "wrong": self.wrong, "first_us": self.first_us, "last_us": self.last_us,
            "p50_ms": self.quantile_ms(500), "p99_ms": self.quantile_ms(990), "max_ms": millis(self.most_us),
        })
    }
}

fn millis(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a time of at most hours")]
    let micros = micros as f64;
    micros / 1000.0
}

fn step(micros: u64) -> usize {
    let Some(doubling) = micros.checked_ilog2().filter(|it| *it > STEP_BITS) else {
        return usize::try_from(micros).unwrap_or_default();
    };
    let shift = doubling - STEP_BITS;
    let step = u64::from(shift) * STEPS + (micros >> shift);
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// The longest time that falls into a step.
fn bound(step: usize) -> u64 {
    let step = step as u64;
    if step < 2 * STEPS {
        return step;
    }
    let shift = step / STEPS - 1;
    let start = (step - shift * STEPS) << shift;
    start + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_it_is_bounded_by() {
        for micros in (0..2000).chain([4095, 4096, 4097, 99_999, 1_000_000, 3_600_000_000]) {
            let (step, bound) = (step(micros), bound(step(micros)));
            assert!(
                bound >= micros && bound <= micros + micros / 32,
                "{micros} is in step {step} up to {bound}"
            );
            assert!(
                step == 0 || super::bound(step - 1) < micros,
                "{micros} would fit into the step before {step}"
            );
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut tally = Tally::default();
        for took in 1..=1000 {
            tally.add(10_000, 10_000 + took * 1000);
        }
        let figures = tally.json();
        let near =
            |name: &str, wanted: f64| (figures[name].as_f64().unwrap() - wanted).abs() <= wanted * 0.04;
        assert!(near("p50_ms", 500.0) && near("p99_ms", 990.0) && near("max_ms", 1000.0), "{figures}");
        assert_eq!(
            (figures["deliveries"].as_u64(), figures["last_us"].as_u64()),
            (Some(1000), Some(1_010_000))
        );
    }
}
