//! Bytes from PostgreSQL into frames. Rows share the buffer that they were read into; nothing of them is copied.

use bytes::{Buf as _, Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{self, ErrorFields, Header, Message};

use super::broken::Broken;
use crate::{PgError, Row, notice};

/// PostgreSQL sends no longer message.
const MAX_FRAME: usize = 1 << 30;
/// A row longer than this may come in pieces.
const LARGE: usize = 256 * 1024;
const MALFORMED: Broken = Broken::Protocol("PostgreSQL sent a malformed message");

/// What a connection in use reacts to.
#[derive(Debug)]
pub(super) enum Frame {
    /// A statement is prepared.
    Parsed,
    /// A row.
    Row(Row),
    /// A large row: its columns but the last one, of which so many bytes come next. They are no frame.
    Large(Row, usize),
    /// A statement ran, touching so many rows.
    Complete(u64),
    /// An error.
    Error(Failure),
    /// The pipeline up to a Sync is done; the transaction status.
    Ready(u8),
}

/// An `ErrorResponse`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: PgError,
    /// PostgreSQL ends the connection after this.
    pub(crate) fatal: bool,
    /// The prepared statement is of no use any more; parsing it again may help.
    pub(super) stale: bool,
}

/// The next frame of `input`, or `None` when more bytes are needed. Messages that mean nothing here are skipped.
///
/// A row whose last column is large is told as soon as that column begins, if `streams`; else rows are whole.
pub(super) fn next(input: &mut BytesMut, streams: bool) -> Result<Option<Frame>, Broken> {
    loop {
        let Some((tag, total)) = peek(input)? else { return Ok(None) };
        if streams
            && tag == backend::DATA_ROW_TAG
            && total > LARGE
            && let Some(head) = head(input, total)?
        {
            let row = row(input.split_to(head).freeze(), 1)?;
            input.advance(4);
            return Ok(Some(Frame::Large(row, total - head - 4)));
        }
        if input.len() < total {
            // By doubling, so that a length that is only claimed reserves little.
            input.reserve((total - input.len()).min(input.len().max(64 * 1024)));
            return Ok(None);
        }
        let frame = match tag {
            backend::PARSE_COMPLETE_TAG => Frame::Parsed,
            backend::DATA_ROW_TAG => return Ok(Some(Frame::Row(row(input.split_to(total).freeze(), 0)?))),
            backend::COMMAND_COMPLETE_TAG => {
                Frame::Complete(affected(input.get(5..total).unwrap_or_default()))
            }
            backend::EMPTY_QUERY_RESPONSE_TAG => Frame::Complete(0),
            backend::READY_FOR_QUERY_TAG => Frame::Ready(input.get(5).copied().ok_or(MALFORMED)?),
            backend::ERROR_RESPONSE_TAG => match Message::parse(input)? {
                Some(Message::ErrorResponse(body)) => return Ok(Some(Frame::Error(failure(body.fields())?))),
                _ => return Err(MALFORMED),
            },
            backend::NOTICE_RESPONSE_TAG
                if notice::is_unreplicated(input.get(5..total).unwrap_or_default()) =>
            {
                return Err(Broken::Unreplicated);
            }
            backend::BIND_COMPLETE_TAG
            | backend::CLOSE_COMPLETE_TAG
            | backend::NO_DATA_TAG
            | backend::NOTICE_RESPONSE_TAG
            | backend::NOTIFICATION_RESPONSE_TAG
            | backend::PARAMETER_STATUS_TAG => {
                input.advance(total);
                continue;
            }
            // Above all COPY, which would wait for us for ever.
            _ => return Err(Broken::Protocol("PostgreSQL sent a message that has no place here")),
        };
        input.advance(total);
        return Ok(Some(frame));
    }
}

/// Tag and total length of the message at the front of `input`.
pub(crate) fn peek(input: &[u8]) -> Result<Option<(u8, usize)>, Broken> {
    let Some(header) = Header::parse(input)? else { return Ok(None) };
    let total = usize::try_from(header.len()).map_err(|_| MALFORMED)? + 1;
    if total > MAX_FRAME { Err(MALFORMED) } else { Ok(Some((header.tag(), total))) }
}

/// What PostgreSQL reported.
pub(crate) fn failure(mut fields: ErrorFields<'_>) -> Result<Failure, Broken> {
    let mut error = PgError { code: String::new(), message: String::new(), detail: None, hint: None };
    let (mut fatal, mut routine) = (false, false);
    while let Some(field) = fields.next()? {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => fatal = field.value_bytes() != b"ERROR",
            b'C' => error.code = value(),
            b'M' => error.message = value(),
            b'D' => error.detail = Some(value()),
            b'H' => error.hint = Some(value()),
            b'R' => routine = field.value_bytes() == b"RevalidateCachedQuery",
            _ => {}
        }
    }
    let stale = error.code == "26000" || (error.code == "0A000" && routine);
    Ok(Failure { error, fatal, stale })
}

/// Where the last column's length stands in the `DataRow` at the front of `input`, which is `total` long. `None` when
/// that has not come yet, or when the column is not what makes the row large.
fn head(input: &[u8], total: usize) -> Result<Option<usize>, Broken> {
    let mut rest = input.get(5..).unwrap_or_default();
    let Ok(count) = rest.try_get_u16() else { return Ok(None) };
    for idx in 1..=count {
        let at = input.len() - rest.len();
        let Ok(length) = rest.try_get_i32() else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or_default();
        if idx == count {
            let ends = at + 4 + length == total;
            return if ends { Ok((length >= LARGE / 2).then_some(at)) } else { Err(MALFORMED) };
        }
        let Some(behind) = rest.get(length..) else { return Ok(None) };
        rest = behind;
    }
    Ok(None)
}

/// The columns of a `DataRow` but the last `omitted` ones.
fn row(mut frame: Bytes, omitted: u16) -> Result<Row, Broken> {
    frame.advance(5);
    let count = frame.try_get_u16().map_err(|_| MALFORMED)?.saturating_sub(omitted);
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = frame.try_get_i32().map_err(|_| MALFORMED)?;
        // A negative length is null.
        columns.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) if length <= frame.len() => Some(frame.split_to(length)),
            Ok(_) => return Err(MALFORMED),
        });
    }
    Ok(Row::new(columns))
}

/// The number at the end of a command tag: `INSERT 0 5`, `SELECT 5`; 0 when there is none.
fn affected(tag: &[u8]) -> u64 {
    let tag = tag.strip_suffix(&[0]).unwrap_or(tag);
    let last = tag.rsplit(|it| *it == b' ').next().unwrap_or_default();
    std::str::from_utf8(last).ok().and_then(|it| it.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn command_tags_end_in_a_number_or_not() {
        for (tag, rows) in [("INSERT 0 5\0", 5), ("SELECT 12\0", 12), ("BEGIN\0", 0), ("", 0)] {
            assert_eq!(affected(tag.as_bytes()), rows, "{tag}");
        }
    }

    #[test]
    fn a_row_waits_for_its_last_byte() {
        let bytes = b"D\0\0\0\x10\0\x02\0\0\0\x02hi\xff\xff\xff\xff";
        for length in 0..bytes.len() {
            let mut input = BytesMut::from(&bytes[..length]);
            assert!(matches!(next(&mut input, false), Ok(None)), "{length}");
        }
        let mut input = BytesMut::from(&bytes[..]);
        match next(&mut input, false) {
            Ok(Some(Frame::Row(row))) => assert_eq!((row.text(0), row.text(1)), (Some("hi"), None)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_commit_that_is_not_replicated_breaks_the_connection() {
        let said = |body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let ready = b"Z\0\0\0\x05I";
            next(&mut BytesMut::from(&*[b"N", &length[..], body, ready].concat()), false)
        };
        assert!(matches!(said(b"SNOTICE\0Mhello\0\0"), Ok(Some(Frame::Ready(b'I')))));
        assert!(matches!(said(notice::tests::BODY), Err(Broken::Unreplicated)));
    }

    #[test]
    fn a_claimed_length_reserves_little() {
        let mut input = BytesMut::from(&b"D\x3f\0\0\0"[..]);
        assert!(matches!(next(&mut input, false), Ok(None)));
        assert!(input.capacity() < 1 << 20);
        assert!(next(&mut BytesMut::from(&b"D\x7f\xff\xff\xff"[..]), false).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = next(&mut input, true) {}
        }

        #[test]
        fn any_large_row_is_told_once_its_last_column_begins(
            columns in proptest::collection::vec(proptest::option::of("[a-z]{0,20}"), 0..5),
            large in 0..2 * LARGE,
            cut in any::<proptest::sample::Index>(),
        ) {
            let last = vec![b'x'; large];
            let all = columns.iter().map(|it| it.as_deref().map(str::as_bytes)).chain([Some(&*last)]);
            let mut body = u16::try_from(columns.len() + 1).unwrap().to_be_bytes().to_vec();
            for column in all {
                let length = column.map_or(-1, |it| i32::try_from(it.len()).unwrap());
                body.extend(length.to_be_bytes());
                body.extend(column.unwrap_or_default());
            }
            let mut message = vec![b'D'];
            message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            message.extend(body);
            let begins = message.len() - large;
            let is_large = message.len() > LARGE && large >= LARGE / 2;
            let end = cut.index(message.len() + 1);
            let mut input = BytesMut::from(message.get(..end).unwrap());
            match next(&mut input, true) {
                Ok(None) => {
                    let enough = if is_large { begins } else { message.len() };
                    prop_assert!(end < enough);
                }
                Ok(Some(Frame::Large(row, length))) => {
                    prop_assert!(is_large && length == large && input.len() == end - begins);
                    for (idx, column) in columns.iter().enumerate() {
                        prop_assert_eq!(row.text(idx), column.as_deref());
                    }
                    prop_assert!(row.bytes(columns.len()).is_none());
                }
                Ok(Some(Frame::Row(row))) => {
                    prop_assert!(!is_large && row.bytes(columns.len()).unwrap().len() == large);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn any_row_body_is_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let length = u32::try_from(body.len() + 4).unwrap();
            let mut input = BytesMut::from(&b"D"[..]);
            input.extend_from_slice(&length.to_be_bytes());
            input.extend_from_slice(&body);
            let _ = next(&mut input, false);
        }
    }
}
