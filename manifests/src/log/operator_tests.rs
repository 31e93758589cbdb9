use super::*;
use crate::authority::InstanceKey;
use crate::digest::Sha256;
use crate::id::InstanceId;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

const NODE: NodeId = NodeId([7; 16]);
const ORIGIN: &str = "log.example/a";

struct House {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        Self { dir, authority }
    }

    fn open(&self, origin: &str) -> Result<LogKey, AuthorityError> {
        LogKey::open_or_create(&self.authority, self.dir.path(), NODE, origin)
    }

    fn anchors(&self) -> Anchors {
        Anchors::from_pem(self.authority.certificate_pem()).unwrap()
    }

    fn file(&self) -> PathBuf {
        key_file(self.dir.path(), NODE)
    }
}

#[test]
fn a_log_s_key_is_made_once_and_known_to_who_pinned_the_authority() {
    let house = House::new();
    let made = house.open(ORIGIN).unwrap();
    let again = house.open(ORIGIN).unwrap();
    assert_eq!(made.certificate_pem(), again.certificate_pem());
    assert_eq!(made.verifier_key(), again.verifier_key());
    assert_eq!(made.wal_key(), again.wal_key());
    assert_ne!(made.wal_key(), House::new().open(ORIGIN).unwrap().wal_key());
    let mode = std::fs::metadata(house.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = certified(made.certificate_pem().as_bytes(), &house.anchors()).unwrap();
    assert_eq!((log.node, &log.key), (NODE, &made.verifier_key()));
    assert!(log.key.verify(b"text", &made.sign(b"text")));
    assert_eq!(log.key.name(), ORIGIN);
    let others = certified(made.certificate_pem().as_bytes(), &House::new().anchors());
    assert_eq!(others, Err(UncertifiedError::Untrusted));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    let house = House::new();
    house.open(ORIGIN).unwrap();
    std::fs::set_permissions(house.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = house.open(ORIGIN).unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn a_damaged_key_is_never_replaced_by_a_new_one() {
    let house = House::new();
    house.open(ORIGIN).unwrap();
    let whole = std::fs::read_to_string(house.file()).unwrap();
    for bad in [String::new(), "x".to_owned(), whole[..60].to_owned()] {
        std::fs::write(house.file(), &bad).unwrap();
        let refused = house.open(ORIGIN).unwrap_err();
        assert!(matches!(refused, AuthorityError::Log { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(house.file()).unwrap(), bad);
    }
}

/// Two origins under one key would be two logs that one checkpoint could be taken for.
#[test]
fn a_key_keeps_its_origin() {
    let house = House::new();
    house.open(ORIGIN).unwrap();
    let refused = house.open("log.example/b").unwrap_err().to_string();
    assert!(refused.contains(ORIGIN), "{refused}");
    assert!(house.open("no spaces").is_err());
}

#[test]
fn a_new_authority_certifies_the_old_key() {
    let (house, next) = (House::new(), House::new());
    let made = house.open(ORIGIN).unwrap();
    let again = LogKey::open_or_create(&next.authority, house.dir.path(), NODE, ORIGIN).unwrap();
    assert_eq!(made.verifier_key(), again.verifier_key());
    assert!(certified(again.certificate_pem().as_bytes(), &next.anchors()).is_ok());
}

#[test]
fn an_instance_s_certificate_is_no_log_s_and_a_log_s_does_not_seal() {
    let house = House::new();
    let log = house.open(ORIGIN).unwrap();
    let der = pem::parse(log.certificate_pem()).unwrap().into_contents();
    assert_eq!(
        certificate::unfit(&der),
        Some("it was made for another use")
    );
    for evidence in [None, Some(Sha256([1; 32]))] {
        let key = InstanceKey::generate().unwrap();
        let key = house
            .authority
            .certify(key, InstanceId([7; 16]), evidence)
            .unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", key.chain()[0].clone()));
        assert!(matches!(
            certified(pem.as_bytes(), &house.anchors()),
            Err(UncertifiedError::Unfit(_))
        ));
    }
    let authority = house.authority.certificate_pem();
    assert!(certified(authority.as_bytes(), &house.anchors()).is_err());
}

#[test]
fn one_certificate_and_nothing_besides() {
    let house = House::new();
    let log = house.open(ORIGIN).unwrap();
    let pem = log.certificate_pem();
    let key = house.authority.certificate_pem();
    for bad in [String::new(), format!("{pem}{pem}"), format!("{pem}{key}")] {
        assert!(certified(bad.as_bytes(), &house.anchors()).is_err());
    }
}

proptest! {
    #[test]
    fn no_flipped_byte_certifies_anything_else(at: prop::sample::Index, flip in 1u8..) {
        static HOUSE: std::sync::LazyLock<(Vec<u8>, Anchors, CertifiedLog)> = std::sync::LazyLock::new(|| {
            let house = House::new();
            let pem = house.open(ORIGIN).unwrap().certificate_pem().as_bytes().to_vec();
            let log = certified(&pem, &house.anchors()).unwrap();
            (pem, house.anchors(), log)
        });
        let (pem, anchors, log) = &*HOUSE;
        let mut bytes = pem.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = certified(&bytes, anchors) {
            prop_assert_eq!(&read, log);
        }
        let mut der = pem::parse(pem).unwrap().into_contents();
        let at = at % der.len();
        der[at] ^= flip;
        let bytes = pem::encode(&pem::Pem::new("CERTIFICATE", der));
        prop_assert!(certified(bytes.as_bytes(), anchors).is_err());
    }
}
