//! The task of one connection: owns the socket, sends what the pool gives it, answers, and cleans up at the end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::broken::Broken;
use super::cancel::Backend;
use super::connection::Connection;
use super::job::Job;
use super::pool::Pool;
use super::roster::DEPTH;
use crate::Error;

/// How long to try to say goodbye.
const GOODBYE: Duration = Duration::from_millis(100);

/// What happened.
enum Turn {
    /// PostgreSQL sent something.
    Input,
    /// The pool gave jobs.
    Jobs,
    /// The pool will give no more jobs.
    LastJob,
    /// The statement at the front has lost its caller and goes on.
    Deserted(Backend),
    /// Time to look whether the connection is still needed.
    Look,
}

/// Serve `jobs` and what `inbox` brings until the pool or the connection ends.
pub(super) async fn run(
    pool: &Arc<Pool>,
    id: u64,
    mut connection: Connection,
    mut inbox: Receiver<Job>,
    jobs: Vec<Job>,
) {
    let listed = Listed { pool, id };
    let ended = serve(pool, id, &mut connection, &mut inbox, jobs).await;
    drop(listed);
    match ended {
        None => {
            connection.terminate();
            let goodbye = poll_fn(|cx| connection.poll_flush(cx));
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
        Some(broken) => {
            pool.measures().lost.increment(1);
            tracing::debug!(error = %broken, "connection lost");
            pool.end_idle();
            give_back(pool, connection, &mut inbox, &broken);
        }
    }
}

/// Takes the connection off the roster, even when its task panics.
struct Listed<'a> {
    pool: &'a Arc<Pool>,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.pool.remove(self.id);
    }
}

/// Returns why the connection broke, or `None` when it is not needed any more.
async fn serve(
    pool: &Arc<Pool>,
    id: u64,
    connection: &mut Connection,
    inbox: &mut Receiver<Job>,
    mut jobs: Vec<Job>,
) -> Option<Broken> {
    let mut closing = pin!(pool.closing().cancelled());
    let mut look = interval((pool.idle_limit() / 4).max(Duration::from_millis(10)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut open, mut retiring) = (true, false);
    loop {
        if retiring {
            jobs.drain(..).for_each(|it| pool.submit_again(it));
        }
        send(pool, id, connection, &mut jobs);
        if !open && connection.is_idle() {
            return None;
        }
        let turn = poll_fn(|cx| {
            if closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Broken::Closed));
            }
            let takes = open && (retiring || connection.has_room());
            let inbox = takes.then_some(&mut *inbox);
            poll_turn(cx, connection, inbox, &mut jobs, &mut look)
        });
        match turn.await {
            Err(broken) => return Some(broken),
            Ok(Turn::Jobs) => {}
            Ok(Turn::LastJob) => open = false,
            Ok(Turn::Look) => pool.retire(id),
            Ok(Turn::Deserted(backend)) => {
                retiring = true;
                pool.remove(id);
                pool.cancel(backend);
            }
            Ok(Turn::Input) => match connection.receive() {
                Err(broken) => return Some(broken),
                Ok(0) => {}
                Ok(done) => {
                    connection.take_returned().into_iter().for_each(|it| pool.submit_again(it));
                    if let Some(broken) = connection.condemned() {
                        return Some(broken);
                    }
                    pool.settle(id, done, &mut jobs);
                    if !jobs.is_empty() {
                        // Those in the inbox came first, and others may always follow these.
                        drop(jobs.splice(0..0, std::iter::from_fn(|| inbox.try_recv().ok())));
                    }
                }
            },
        }
    }
}

/// Send `jobs`; those whose caller has gone are done at once, and make room for others.
fn send(pool: &Pool, id: u64, connection: &mut Connection, jobs: &mut Vec<Job>) {
    while !jobs.is_empty() {
        let count = jobs.len();
        jobs.retain(|it| !it.is_abandoned());
        let abandoned = count - jobs.len();
        connection.send_all(jobs.drain(..));
        if abandoned > 0 {
            pool.settle(id, abandoned, jobs);
        }
    }
}

/// Input first, output last: what becomes ready together is written together.
fn poll_turn(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    inbox: Option<&mut Receiver<Job>>,
    jobs: &mut Vec<Job>,
    look: &mut Interval,
) -> Poll<Result<Turn, Broken>> {
    if connection.poll_read(cx)?.is_ready() {
        return Poll::Ready(Ok(Turn::Input));
    }
    if let Some(inbox) = inbox {
        match inbox.poll_recv_many(cx, jobs, DEPTH) {
            Poll::Ready(0) => return Poll::Ready(Ok(Turn::LastJob)),
            Poll::Ready(_) => return Poll::Ready(Ok(Turn::Jobs)),
            Poll::Pending => {}
        }
    }
    if let Poll::Ready(Err(broken)) = connection.poll_flush(cx) {
        return Poll::Ready(Err(broken));
    }
    if let Poll::Ready(backend) = connection.poll_deserted(cx) {
        return Poll::Ready(Ok(Turn::Deserted(backend)));
    }
    look.poll_tick(cx).map(|_| Ok(Turn::Look))
}

/// The connection broke: what was not sent goes elsewhere, reads too (once); for writes the outcome is unknown.
fn give_back(pool: &Arc<Pool>, connection: Connection, inbox: &mut Receiver<Job>, broken: &Broken) {
    inbox.close();
    let mut again = Vec::new();
    for (mut job, sent) in connection.into_unanswered() {
        if job.is_abandoned() {
        } else if !sent || job.repeat() {
            again.push(job);
        } else {
            job.answer(Err(Error::Lost(broken.clone().into())));
        }
    }
    while let Ok(job) = inbox.try_recv() {
        again.push(job);
    }
    // The last one first, since each goes to the head of the queue.
    again.into_iter().rev().for_each(|it| pool.submit_again(it));
}
