//! Takes a port before the slow steps of a start, so that "taken" is said at once, with who holds it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port that is ours but does not listen yet: whoever connects is refused instead of left waiting.
#[derive(Debug)]
pub(crate) struct Port {
    socket: TcpSocket,
    address: SocketAddr,
    flag: &'static str,
}

impl Port {
    /// Take `port` on `bind`; `flag` is how a person chooses another one.
    pub(crate) fn take(bind: IpAddr, port: u16, flag: &'static str) -> Result<Self> {
        Self::bind(bind, port, flag, TcpSocket::set_reuseaddr)
    }

    /// As [`Self::take`], beside other processes of the same user that share it too: connections are spread over them.
    pub(crate) fn share(bind: IpAddr, port: u16, flag: &'static str) -> Result<Self> {
        Self::bind(bind, port, flag, TcpSocket::set_reuseport)
    }

    fn bind(
        bind: IpAddr,
        port: u16,
        flag: &'static str,
        prepare: fn(&TcpSocket, bool) -> io::Result<()>,
    ) -> Result<Self> {
        let address = SocketAddr::new(bind, port);
        let socket = if bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.context("open a socket")?;
        // A port whose last connections are still fading out is free.
        socket.set_reuseaddr(true).context("open a socket")?;
        prepare(&socket, true).context("open a socket")?;
        socket.bind(address).or_else(|it| explain(&it, address, flag))?;
        let address = socket.local_addr().context("read a socket's address")?;
        Ok(Self { socket, address, flag })
    }

    /// Where it is; the port that the system chose when 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accept connections from now on.
    pub(crate) fn listen(self) -> Result<TcpListener> {
        match self.socket.listen(BACKLOG) {
            Ok(listener) => Ok(listener),
            Err(error) => explain(&error, self.address, self.flag),
        }
    }
}

fn explain<T>(error: &std::io::Error, address: SocketAddr, flag: &str) -> Result<T> {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(port).map_or_else(String::new, |it| format!(" by {it}"));
            bail!("port {port} is taken{holder}. Stop it, or choose another port: {flag} PORT")
        }
        ErrorKind::PermissionDenied => {
            bail!("port {port} needs privileges. Choose one above 1023: {flag} PORT")
        }
        ErrorKind::AddrNotAvailable => {
            bail!("{} is no address of this machine. Choose another one: --bind ADDR", address.ip())
        }
        _ => bail!("cannot listen on {address}: {error}"),
    }
}

/// `name (process 123)`, when /proc tells.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|it| listening_inode(&fs::read_to_string(it).ok()?, port))?;
    let link = format!("socket:[{inode}]");
    let pid = fs::read_dir("/proc").ok()?.flatten().find_map(|it| {
        let pid: u32 = it.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(it.path().join("fd")).ok()?.flatten();
        open.any(|it| fs::read_link(it.path()).is_ok_and(|it| it.as_os_str() == link.as_str())).then_some(pid)
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim()))
}

/// The inode of the socket that listens on `port`, from the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        (local.ends_with(&suffix) && state == LISTEN).then(|| inode.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_listening_socket_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 111 1\n\
            1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 222 1\n";
        assert_eq!(listening_inode(table, 8000), Some(222));
        assert_eq!(listening_inode(table, 8001), None);
        assert_eq!(listening_inode("", 8000), None);
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_holder_and_the_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Port::take(Ipv4Addr::LOCALHOST.into(), port, "--port").unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("--port"), "{error}");
    }
}
