//! A server that accepts everything without parsing it. The client waits for the reply to its
//! content, so the end of data is always at the end of the received octets.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const OFFER: &[u8] = b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n\
                       250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n";

/// Serves until the process is killed.
pub(crate) fn run() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be created").block_on(async {
        let socket = TcpSocket::new_v4().expect("there is IPv4");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        // The maximum backlog, since thousands of clients may connect at once.
        let listener = socket.listen(u32::MAX >> 1).expect("it is bound");
        println!("listening on {}", listener.local_addr().expect("it has one"));
        loop {
            if let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        }
    })
}

async fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut buffer = Vec::with_capacity(4_096);
    let mut replies = Vec::new();
    loop {
        if client.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let Some(end) = buffer.iter().rposition(|octet| *octet == b'\n') else { continue };
        for line in buffer.drain(..=end).as_slice().split_inclusive(|octet| *octet == b'\n') {
            let reply: &[u8] = match &line[..line.len().min(4)] {
                b"EHLO" => OFFER,
                b"DATA" => b"354 Go on\r\n",
                b"QUIT" => b"221 2.0.0 Bye\r\n",
                _ => b"250 2.1.0 Ok\r\n",
            };
            replies.extend_from_slice(reply);
        }
        let (quit, data) = (replies.ends_with(b"Bye\r\n"), replies.ends_with(b"Go on\r\n"));
        client.write_all(&replies).await?;
        replies.clear();
        if quit {
            return Ok(());
        }
        if data {
            swallow(&mut client).await?;
            client.write_all(b"250 2.0.0 Ok: queued as 4711\r\n").await?;
        }
    }
}

/// Reads the content up to the end of data.
async fn swallow(client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut last = *b"\0\0\0\r\n";
    while last != *b"\r\n.\r\n" {
        let length = client.read(&mut buffer).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let new = &buffer[length.saturating_sub(5)..length];
        last.rotate_left(new.len());
        last[5 - new.len()..].copy_from_slice(new);
    }
    Ok(())
}
