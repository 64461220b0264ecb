//! lettre as a client of a gate before a real server. `.ci/programs/clients.py` starts both, and passes the
//! ports and the files to send.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::env;
use std::error::Error;
use std::fs;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::client::SmtpConnection;
use lettre::transport::smtp::extension::ClientId;

/// Sends the files named in `LETTRE_FILES` over one connection to `LETTRE_PORT`, and prints
/// refusals.
#[test]
#[ignore = "needs somebody to send to: run by .ci/programs/clients.py"]
fn sends_files() {
    let given = |name: &str| env::var(name).unwrap();
    let (name, port) = (ClientId::Domain(given("LETTRE_NAME")), given("LETTRE_PORT"));
    let address = ("127.0.0.1", port.parse().unwrap());
    let patience = Some(Duration::from_secs(60));
    let mut client = SmtpConnection::connect(address, patience, &name, None, None).unwrap();
    let recipients = given("LETTRE_TO").split(',').map(|to| to.parse().unwrap()).collect();
    let envelope = Envelope::new(Some(given("LETTRE_FROM").parse().unwrap()), recipients).unwrap();
    for file in given("LETTRE_FILES").split(':') {
        if let Err(refused) = client.send(&envelope, &fs::read(file).unwrap()) {
            println!("{} {}", refused.status().unwrap(), refused.source().unwrap());
            return;
        }
    }
    client.quit().unwrap();
}
