//! From a connected socket to a session: start-up, proof of who we are, the server's first words.
//!
//! Speaks trust, cleartext, MD5 and SCRAM-SHA-256.

use crate::config::Config;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{Message, ParameterStatusBody};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::config::{ChannelBinding as ChannelBindingUse, TargetSessionAttrs};

use super::broken::Broken;
use super::cancel::Backend;
use super::frames;
use crate::hosts;
use crate::socket::{self, Address, Socket};

/// No message before the session is longer than this.
const MAX_MESSAGE: usize = 64 * 1024;
const UNEXPECTED: Broken = Broken::Protocol("PostgreSQL sent an unexpected message during start-up");

/// A session on its socket, with what was read beyond the greeting (as a rule nothing).
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: Socket,
    pub(crate) input: BytesMut,
    pub(crate) backend: Backend,
}

/// At the first address of `config` that serves; the last failure is the one that is told.
pub(crate) async fn open(config: &Config) -> Result<Session, Broken> {
    let opened = hosts::first(config, |address| open_at(address, config)).await;
    opened.map_err(|it| it.unwrap_or(Broken::Protocol("the configuration names no host")))
}

async fn open_at(address: Address, config: &Config) -> Result<Session, Broken> {
    let socket = socket::connect(&address, config).await?;
    let mut dialog = Dialog { socket, input: BytesMut::with_capacity(1024), output: BytesMut::new() };
    dialog.greet(config).await?;
    dialog.authenticate(config).await?;
    let (writable, process, secret) = dialog.settle().await?;
    if config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite && !writable {
        return Err(Broken::ReadOnly);
    }
    let backend = Backend { address, process, secret };
    Ok(Session { socket: dialog.socket, input: dialog.input, backend })
}

struct Dialog {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
}

impl Dialog {
    async fn greet(&mut self, config: &Config) -> Result<(), Broken> {
        if config.get_channel_binding() == ChannelBindingUse::Require {
            return Err(Broken::Protocol("channel_binding=require is not supported"));
        }
        let user = config.get_user().ok_or(Broken::Protocol("the configuration names no user"))?;
        let mut parameters = vec![("client_encoding", "UTF8"), ("user", user)];
        parameters.extend(config.get_dbname().map(|it| ("database", it)));
        parameters.extend(config.get_options().map(|it| ("options", it)));
        parameters.extend(config.get_application_name().map(|it| ("application_name", it)));
        parameters.extend(config.replicates().then_some(("replication", "database")));
        frontend::startup_message(parameters, &mut self.output)?;
        self.send().await
    }

    async fn authenticate(&mut self, config: &Config) -> Result<(), Broken> {
        let password = || {
            config.get_password().ok_or(Broken::Protocol("PostgreSQL asks for a password and there is none"))
        };
        match self.next().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?, &mut self.output)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let user = config.get_user().unwrap_or_default();
                let hash = md5_hash(user.as_bytes(), password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut self.output)?;
            }
            Message::AuthenticationSasl(body) => {
                if !body.mechanisms().any(|it| Ok(it == SCRAM_SHA_256))? {
                    return Err(Broken::Protocol("PostgreSQL offers no SASL mechanism that we speak"));
                }
                self.scram(password()?).await?;
            }
            _ => return Err(Broken::Protocol("PostgreSQL asks for a proof that we do not speak")),
        }
        self.send().await?;
        match self.next().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(UNEXPECTED),
        }
    }

    async fn scram(&mut self, password: &[u8]) -> Result<(), Broken> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.output)?;
        self.send().await?;
        let Message::AuthenticationSaslContinue(body) = self.next().await? else { return Err(UNEXPECTED) };
        scram.update(body.data())?;
        frontend::sasl_response(scram.message(), &mut self.output)?;
        self.send().await?;
        let Message::AuthenticationSaslFinal(body) = self.next().await? else { return Err(UNEXPECTED) };
        Ok(scram.finish(body.data())?)
    }

    /// Until the first `ReadyForQuery`; whether the session can write, and the key to cancel by.
    async fn settle(&mut self) -> Result<(bool, i32, i32), Broken> {
        let (mut writable, mut process, mut secret) = (true, 0, 0);
        loop {
            match self.next().await? {
                Message::ReadyForQuery(_) => return Ok((writable, process, secret)),
                Message::ParameterStatus(it) => writable &= !says_read_only(&it)?,
                Message::BackendKeyData(it) => (process, secret) = (it.process_id(), it.secret_key()),
                _ => return Err(UNEXPECTED),
            }
        }
    }

    async fn send(&mut self) -> Result<(), Broken> {
        self.socket.write_all(&self.output).await?;
        self.socket.flush().await?;
        self.output.clear();
        Ok(())
    }

    /// The next message but notices; an error of PostgreSQL's is an `Err`.
    async fn next(&mut self) -> Result<Message, Broken> {
        loop {
            if frames::peek(&self.input)?.is_some_and(|(_, total)| total > MAX_MESSAGE) {
                return Err(UNEXPECTED);
            }
            match Message::parse(&mut self.input)? {
                None => {
                    if self.socket.read_buf(&mut self.input).await? == 0 {
                        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                    }
                }
                Some(Message::NoticeResponse(_)) => {}
                Some(Message::ErrorResponse(body)) => {
                    return Err(Broken::Refused(frames::failure(body.fields())?.error));
                }
                Some(message) => return Ok(message),
            }
        }
    }
}

fn says_read_only(status: &ParameterStatusBody) -> Result<bool, Broken> {
    let name = status.name()?;
    Ok(matches!(name, "in_hot_standby" | "default_transaction_read_only") && status.value()? == "on")
}
