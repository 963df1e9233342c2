//! CONSENT (`protocol.md` §2 to §4): a view re-assembles to the same bytes, nothing forged opens, and
//! whatever the responder seals is taken exactly if it was offered, with the keys that the oracle
//! derives.

use stadium_proto::{
    crypto::{Cipher, HashAlg},
    handshake::{Answer, Features, Refusal},
    identity::PresharedKey,
    lbm::{ConsentCells, Map},
    wire::ConsentView,
};

use crate::{
    input::Input,
    rogue::{self, ConsentPlan, Scenario, Signing, VARIANTS, Variant},
};

/// Checks one input: choices, then a datagram or cells.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let scenario = rogue::scenario(VARIANTS[usize::from(input.choice(6))]);
    match input.choice(8) {
        0 => raw(scenario, input.rest()),
        1 => changed(scenario, input),
        _ => sealed(scenario, input),
    }
}

fn raw(scenario: &Scenario, datagram: &[u8]) {
    if let Ok(view) = ConsentView::parse(datagram) {
        let kem = view.kem_ciphertext().map_or(&[][..], |bytes| bytes);
        let kem_len = (view.kem_len() as u16).to_le_bytes();
        let parts = [view.head(), &view.ephemeral()[..], &kem_len, kem, view.c2()];
        assert_eq!(parts.concat(), datagram);
        assert_eq!([view.symmetric(), view.head()[0]], [datagram[1], 1]);
    }
    assert!(scenario.initiator.open_consent(datagram).is_err(), "a forged consent opens");
}

/// Flips a bit of a good consent.
fn changed(scenario: &Scenario, mut input: Input<'_>) {
    let (at, bit) = (usize::from(input.word()), input.choice(8));
    let plan = ConsentPlan {
        symmetric: 1,
        cipher: Cipher::ChaCha20Poly1305,
        kem: true,
        psk: *scenario.variant.psk().as_bytes(),
        signing: Signing::Right,
    };
    let (mut datagram, _) = scenario.consent(&plan, &good_cells(scenario.variant));
    let opened = scenario.initiator.open_consent(&datagram);
    assert!(matches!(opened, Ok(Answer::Session(_))), "{opened:?}");
    let at = at % datagram.len();
    datagram[at] ^= 1 << bit;
    let opened = scenario.initiator.open_consent(&datagram);
    // X25519 ignores the top bit of a public key, but the transcript does not
    assert!(opened.is_err(), "bit {bit} of byte {at} does not matter");
}

fn good_cells(variant: Variant) -> Vec<u8> {
    use crate::cbor::{Item, write_map};
    let mut cells = vec![(0x01, Item::Uint(1)), (0x02, Item::Uint(1))];
    if !variant.is_encrypted() {
        cells.push((0x04, Item::Bytes(rogue::responder().public().as_bytes().to_vec())));
    }
    cells.extend(
        [(0x05, 1), (0x0a, 1420), (0x0c, 9), (0x0d, 1), (0x11, 0)]
            .map(|(key, value)| (key, Item::Uint(value))),
    );
    write_map(&cells)
}

fn sealed(scenario: &Scenario, mut input: Input<'_>) {
    let (variant, choice, more) = (scenario.variant, input.byte(), input.byte());
    let right = *variant.psk().as_bytes();
    let plan = ConsentPlan {
        symmetric: if choice & 8 == 0 { 1 + (choice & 1) } else { more },
        cipher: [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm][usize::from(choice & 1)],
        kem: choice & 2 == 0,
        psk: match choice >> 4 & 3 {
            0 | 1 => right,
            2 => [0; 32],
            _ => [3; 32],
        },
        signing: Signing::ALL[usize::from(choice >> 6)],
    };
    let lbm = input.rest();
    let (datagram, schedule) = scenario.consent(&plan, lbm);
    let got = scenario.initiator.open_consent(&datagram);
    let want = expect(scenario, &plan, lbm, datagram.len());
    match (&got, want) {
        (Ok(Answer::Session(session)), Some(ConsentCells::Session(cells))) => {
            assert_eq!(u64::from(session.hash.code()), cells.hash);
            assert_eq!((session.cipher, session.index_r), (plan.cipher, cells.index_r));
            assert_eq!(session.payload_limit, cells.payload_limit.min(1420));
            assert_eq!((session.lanes_r, session.lanes_i), (cells.lanes, rogue::offer().lanes));
            assert_eq!((session.features.0, session.noise), (cells.features, cells.noise));
            assert_eq!(session.remote.as_ref(), Some(rogue::responder().public()));
            let [i2r, r2i] = schedule.data_keys(session.hash, session.cipher);
            assert_eq!(session.keys.i2r.as_bytes(), i2r.as_bytes());
            assert_eq!(session.keys.r2i.as_bytes(), r2i.as_bytes());
        }
        (Ok(Answer::Refused(refused)), Some(ConsentCells::Status(cells))) => {
            assert_eq!((refused.code.0, refused.noise), (cells.status, cells.noise));
        }
        (Err(_), None) => {}
        (got, want) => panic!("{variant:?} {plan:?}: got {got:?}, want {want:?}"),
    }
    if plan.psk != right && plan.psk != [0; 32] && datagram.len() <= 1452 {
        let expected = if Cipher::from_code(plan.symmetric.into()).is_some() {
            !matches!(got, Err(Refusal::Malformed(_)))
        } else {
            matches!(got, Err(Refusal::NotOffered | Refusal::Wire(_)))
        };
        assert!(expected, "what is under a strange psk is not read: {got:?}");
    }
}

/// Says what the initiator must make of a consent, after the text of `protocol.md`.
fn expect<'a>(
    scenario: &Scenario,
    plan: &ConsentPlan,
    lbm: &'a [u8],
    len: usize,
) -> Option<ConsentCells<'a>> {
    let variant = scenario.variant;
    let encrypted = variant.is_encrypted();
    let right = *variant.psk().as_bytes();
    let hybrid = plan.kem && scenario.initiator.is_hybrid();
    let signature = match (encrypted, plan.signing) {
        (true, _) => 0,
        (false, Signing::Right) => 64,
        (false, _) => return None,
    };
    let known = len <= 1452
        && u64::from(plan.symmetric) == u64::from(plan.cipher.code())
        && lbm.len() + signature > 0;
    let psk_is_right = plan.psk == right;
    let zero_for_status = plan.psk == *PresharedKey::NONE.as_bytes() && !hybrid;
    if !known || !(psk_is_right || zero_for_status) {
        return None;
    }
    let (map, used) = Map::decode_prefix(lbm).ok()?;
    let cells = ConsentCells::from_map(encrypted, &map).ok()?;
    if used != lbm.len() || cells.version() != 1 {
        return None;
    }
    if !encrypted && cells.signature_key() != Some(rogue::responder().public().as_bytes()) {
        return None;
    }
    match cells {
        ConsentCells::Status(_) => (!hybrid).then_some(cells),
        ConsentCells::Session(session) => {
            let offer = rogue::offer();
            let taken = psk_is_right
                && session.cipher == u64::from(plan.symmetric)
                && offer.hashes.contains(session.hash)
                && HashAlg::from_code(session.hash).is_some()
                && offer.features.contains(Features(session.features))
                && session.noise == offer.noise
                && session.ticket.is_none()
                && (variant != Variant::HybridRequired || hybrid);
            taken.then_some(cells)
        }
    }
}
