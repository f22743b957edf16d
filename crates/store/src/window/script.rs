//! The one script: tells Redis what was admitted, and asks for one more of each, all of them or none.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::slot::Slot;
use crate::Redis;

/// Steps of a window. The one that the window's begin lies in counts whole: no window ever holds more than the limit, and who
/// asks evenly gets all but a thirtieth of it.
const STEPS: u32 = 30;

/// One call of the script. What it was to tell counts as told even when it never runs.
pub(super) struct Call {
    per: Duration,
    slots: Vec<Told>,
}

/// Answers for what a slot was about to tell, however the call ends.
struct Told {
    slot: Arc<Slot>,
    count: u32,
    want: u32,
    max: u32,
    answer: Option<(u64, Duration)>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.slot.told(self.count, self.answer, Instant::now());
    }
}

impl Call {
    pub(super) fn new(per: Duration) -> Self {
        Self { per, slots: Vec::new() }
    }

    /// Tell what `slot` has not told, and ask for `want` more of at most `max`.
    pub(super) fn add(&mut self, slot: &Arc<Slot>, want: u32, max: u32) {
        let count = slot.tell();
        self.slots.push(Told { slot: Arc::clone(slot), count, want, max, answer: None });
    }

    /// Only tell; nothing to do when there is nothing to tell.
    pub(super) fn add_queued(&mut self, slot: Arc<Slot>) {
        let count = slot.tell_queued();
        if count > 0 {
            self.slots.push(Told { slot, count, want: 0, max: u32::MAX, answer: None });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether all had room; also without an answer.
    pub(super) async fn run(mut self, redis: &Redis) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        let step_ms = (self.per / STEPS).as_millis().max(1);
        let mut call = COUNT.prepare_invoke();
        call.arg(u64::try_from(step_ms).unwrap_or(u64::MAX)).arg(STEPS);
        for it in &self.slots {
            call.key(it.slot.name()).arg(it.count).arg(it.want).arg(it.max);
        }
        let Some(answers) = redis.link().run::<Vec<u64>>(&call).await else { return true };
        let mut room = true;
        for (it, answer) in self.slots.iter_mut().zip(answers.chunks_exact(2)) {
            if let [used, wait_ms] = answer {
                room &= *wait_ms == 0;
                it.answer = Some((*used, Duration::from_millis(*wait_ms)));
            }
        }
        room
    }
}

/// For each key: how many are used now, and how many milliseconds until there is room for what was asked.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local step, steps = tonumber(ARGV[1]), tonumber(ARGV[2])
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local current = math.floor(now / step)
        local left = step - now % step
        local answer, room, sums = {}, true, {}
        for i, key in ipairs(KEYS) do
            local told, want, max = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
            local found, counts, sum, old = redis.call('HGETALL', key), {}, told, {}
            for j = 1, #found, 2 do
                local age, count = current - tonumber(found[j]), tonumber(found[j + 1])
                if age > steps then
                    old[#old + 1] = found[j]
                else
                    counts[age] = count
                    sum = sum + count
                end
            end
            if #old > 0 then redis.call('HDEL', key, unpack(old)) end
            counts[0] = (counts[0] or 0) + told
            local over, wait = sum + want - max, 0
            if want > 0 and over > 0 then
                room = false
                for age = steps, 0, -1 do
                    wait = wait + (age == steps and left or step)
                    over = over - (counts[age] or 0)
                    if over <= 0 then break end
                end
                wait = math.max(1, wait)
            end
            sums[i] = { sum, told, want }
            answer[2 * i] = wait
        end
        for i, key in ipairs(KEYS) do
            local sum, told, want = sums[i][1], sums[i][2], sums[i][3]
            local added = told
            if room then added, sum = told + want, sum + want end
            if added > 0 then
                redis.call('HINCRBY', key, string.format('%.0f', current), added)
                redis.call('PEXPIRE', key, step * steps)
            end
            answer[2 * i - 1] = sum
        end
        return answer
        ",
    )
});
