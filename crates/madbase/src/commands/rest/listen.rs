//! Opens what `server-host`, `server-port` and `server-unix-socket` name.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use gateway::Listener;
use tokio::net::{UnixListener, UnixStream, lookup_host};

use super::options::Place;
use crate::banner::http_url;
use crate::ports::Port;

/// A listener, and how to reach it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) listener: Listener,
    /// For people.
    pub(super) shown: String,
    /// The file of a socket; removed with this.
    pub(super) socket: Option<SocketFile>,
}

/// Removes the file of a socket at the end.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.0);
    }
}

/// Listen at `place`; `variable` is how a person chooses another port, and a `shared` one may be others' too.
pub(super) async fn open(place: &Place, variable: &'static str, shared: bool) -> Result<Opened> {
    match place {
        Place::Port { host, port } => {
            let address = address(host, *port).await?;
            let take = if shared { Port::share } else { Port::take };
            let port = take(address, *port, variable)?;
            let shown = http_url(port.address());
            Ok(Opened { listener: port.listen()?.into(), shown, socket: None })
        }
        Place::Socket { path, mode } => socket(path, *mode).await,
    }
}

/// Warp's patterns (`!4`: IPv4 only, `*6`: IPv6 rather), an address, or a name.
async fn address(host: &str, port: u16) -> Result<IpAddr> {
    match host {
        "!4" | "*4" | "*" => return Ok(Ipv4Addr::UNSPECIFIED.into()),
        "!6" | "*6" => return Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => {}
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(address);
    }
    let mut found = lookup_host((host, port)).await.with_context(|| format!("find the address of {host}"))?;
    found.next().map(|it| it.ip()).with_context(|| format!("{host} has no address"))
}

async fn socket(path: &Path, mode: u32) -> Result<Opened> {
    remove_stale(path).await?;
    let shown = path.display().to_string();
    let listener = UnixListener::bind(path).with_context(|| format!("listen at {shown}"))?;
    let socket = Some(SocketFile(path.to_owned()));
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {shown}"))?;
    Ok(Opened { listener: listener.into(), shown, socket })
}

/// A socket that a killed process left behind is in the way; anything else there is not ours to remove.
async fn remove_stale(path: &Path) -> Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {shown}")),
        Ok(it) if !it.file_type().is_socket() => bail!("{shown} exists and is no socket"),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => bail!("{shown} is taken: another server answers there"),
        Err(_) => fs::remove_file(path).with_context(|| format!("remove {shown}")),
    }
}
