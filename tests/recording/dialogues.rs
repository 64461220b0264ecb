//! A difference is printed as a dialogue that is a test: it fails with the version that differs, and passes
//! with the one that was recorded.

use std::sync::Arc;

use nobounce::recording::{AddressForm, ClientForm, ContentForm};
use nobounce::replay::{self, ProtocolReplay};
use nobounce::testing::{Chunking, Transcript};
use nobounce::{Panel, Settings};

use super::gate::Recorded;
use super::privacy::{Quoting, everything, record};

#[test]
fn a_printed_difference_is_a_test_of_the_version_that_was_recorded() {
    let mut plain = everything();
    plain.addresses = AddressForm::Plain;
    plain.clients = ClientForm::Plain;
    plain.content = ContentForm::Whole;
    let recorded = Recorded::new(Panel::new().scorer(Quoting), plain);
    let other = Arc::new(Settings::new("mx2.example"));
    for session in record(&recorded) {
        let ProtocolReplay::Diverged(divergence) = replay::protocol(&other, &session) else {
            panic!("the greeting has another name: {session}");
        };
        assert!(
            divergence.dialogue.contains("# found instead of the next line: S: 220 mx2.example")
        );
        let transcript = Transcript::parse(&divergence.dialogue).unwrap();
        assert!(transcript.play(Chunking::Whole).is_err(), "{divergence}");
        let dialogue = divergence.dialogue.replace("@ host mx2.example", "@ host mx.example");
        for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(7)] {
            let played = Transcript::parse(&dialogue).unwrap().play(chunking);
            assert!(played.is_ok(), "{}\n{dialogue}", played.unwrap_err());
        }
    }
}
