//! Many WebSocket clients in one process and one thread, for `tests/load/realtime`: they join topics, one of them sends,
//! and deliveries are counted and timed.
//!
//! Reads a [`plan::Plan`] and then [`plan::Order`]s, a line of JSON each, from standard input; answers every order with a
//! line of JSON. Ends with its input. Clients of Supabase Realtime's protocol 2.0.0 and of nchan.

mod clock;
mod crowd;
mod plan;
mod socket;
mod tally;
mod wire;

use std::io::{BufRead as _, Write as _};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::clock::{cpu_ms, now_us, own_cpu_ms};
use self::crowd::Crowd;
use self::plan::{Broadcast, Order};
use self::socket::State;

/// How long is listened for what should not come any more.
const AFTERWARDS: Duration = Duration::from_millis(300);
const TURN: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let sent = std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|it| sender.send(it));
        drop(sent);
    });
    let plan = lines.recv().context("read the plan")?;
    let mut crowd = Crowd::new(serde_json::from_str(&plan).context("read the plan")?)?;
    while let Some(order) = next_order(&mut crowd, &lines)? {
        let answer = obey(&mut crowd, order)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The next order; until it comes connections are kept alive.
fn next_order(crowd: &mut Crowd, lines: &Receiver<String>) -> Result<Option<Order>> {
    loop {
        match lines.try_recv() {
            Ok(line) => return serde_json::from_str(&line).map(Some).context("read an order"),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => crowd.turn(TURN)?,
        }
    }
}

fn obey(crowd: &mut Crowd, order: Order) -> Result<Value> {
    let (began, busy_ms) = (now_us(), (cpu_ms(&crowd.plan.watched), own_cpu_ms()));
    match order {
        Order::Open => crowd.open()?,
        Order::Join => crowd.join()?,
        Order::Hold => {}
        Order::Restart => crowd.restart(),
        Order::Broadcast(broadcast) => send(crowd, &broadcast)?,
        Order::Listen { deliveries, secs } => listen(crowd, deliveries, secs)?,
    }
    let mut answer = crowd.tally.json();
    let more = json!({
        "began_us": began, "took_us": now_us() - began,
        "cpu_ms": cpu_ms(&crowd.plan.watched) - busy_ms.0, "own_cpu_ms": own_cpu_ms() - busy_ms.1,
        "open": crowd.count(State::Open), "joined": crowd.count(State::Joined),
        "failed": crowd.failed, "failures": crowd.failures,
    });
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    Ok(answer)
}

/// Send all messages, and wait until everybody has got them.
fn send(crowd: &mut Crowd, order: &Broadcast) -> Result<()> {
    crowd.restart();
    let (began, subscribers) = (now_us(), crowd.plan.sockets as u64);
    let deadline = began + order.secs * 1_000_000;
    let expected = u64::from(order.messages) * subscribers;
    let mut sent = 0;
    while crowd.tally.deliveries < expected && now_us() < deadline {
        while sent < order.messages && !crowd.is_sender_blocked() {
            let due_us = match (order.per_sec, order.window) {
                (Some(rate), _) => began + u64::from(sent) * 1_000_000 / u64::from(rate.max(1)),
                (None, window) => {
                    let under_way = u64::from(sent) * subscribers - crowd.tally.deliveries;
                    if under_way >= u64::from(window.unwrap_or(1)) * subscribers {
                        break;
                    }
                    now_us()
                }
            };
            if due_us > now_us() {
                break;
            }
            let (opcode, message) = wire::message(crowd.plan.dialect, sent, due_us, order.size);
            crowd.send(crowd.plan.sockets, opcode, &message);
            sent += 1;
        }
        crowd.turn(if order.per_sec.is_some() { Duration::from_millis(1) } else { TURN })?;
    }
    afterwards(crowd)
}

fn listen(crowd: &mut Crowd, deliveries: u64, secs: u64) -> Result<()> {
    let deadline = now_us() + secs * 1_000_000;
    while crowd.tally.deliveries < deliveries && now_us() < deadline {
        crowd.turn(TURN)?;
    }
    afterwards(crowd)?;
    Ok(())
}

/// What comes twice comes a little later.
fn afterwards(crowd: &mut Crowd) -> Result<()> {
    let until = now_us() + u64::try_from(AFTERWARDS.as_micros()).unwrap_or_default();
    while now_us() < until {
        crowd.turn(TURN)?;
    }
    Ok(())
}
