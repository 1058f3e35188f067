use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn slice(name: &str, ports: &[(&str, i32)], endpoints: &[Value]) -> EndpointSlice {
    let ports: Vec<_> =
        ports.iter().map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": name}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }))
    .unwrap()
}

fn pod(name: &str, address: &str) -> Value {
    json!({"addresses": [address, "10.9.9.9"], "targetRef": {"kind": "Pod", "name": name}})
}

const DECODE: [(&str, i32); 3] = [("control", 1), ("kv", 2), ("sidecar", 3)];
const PREFILL: [(&str, i32); 1] = [("control", 9)];

fn topology(decode: &[EndpointSlice], prefill: &[EndpointSlice]) -> (Topology, Vec<Unusable>) {
    from_slices("team", "chat", decode, prefill)
}

#[test]
fn pods_become_members_with_their_first_address() {
    let decode = slice("d", &DECODE, &[pod("d-1", "fd00::7"), pod("d-0", "10.0.0.1")]);
    let prefill = slice("p", &PREFILL, &[pod("p-0", "10.0.0.2")]);
    let (topology, unusable) = topology(&[decode], &[prefill]);
    assert_eq!(unusable, []);
    let expected = json!({
        "service": "chat", "namespace": "team",
        "decode": [
            {"name": "d-0", "worker_url": "https://10.0.0.1:1", "sidecar_url": "https://10.0.0.1:3", "kv_addr": "10.0.0.1:2"},
            {"name": "d-1", "worker_url": "https://[fd00::7]:1", "sidecar_url": "https://[fd00::7]:3", "kv_addr": "[fd00::7]:2"},
        ],
        "prefill": [{"name": "p-0", "worker_url": "https://10.0.0.2:9"}],
    });
    assert_eq!(serde_json::to_value(&topology).unwrap(), expected);
    assert_eq!(Topology::parse(expected.to_string().as_bytes()).unwrap(), topology);
}

#[test]
fn endpoints_stay_until_they_are_gone() {
    let with = |conditions: Value| {
        let mut endpoint = pod("d-0", "10.0.0.1");
        endpoint["conditions"] = conditions;
        let decode = topology(&[slice("d", &DECODE, &[endpoint])], &[]).0.decode;
        decode.iter().map(|member| member.ends).collect::<Vec<_>>()
    };
    assert_eq!(with(json!({"ready": false, "serving": false, "terminating": true})), [true]);
    assert_eq!(with(json!({"ready": false})), [false]);
    assert_eq!(with(json!({})), [false]);
}

#[test]
fn a_pod_in_several_slices_is_one_member() {
    let of = |name, made: &str, address, terminating: bool| {
        let mut endpoint = pod("d-0", address);
        endpoint["conditions"] = json!({"terminating": terminating});
        let mut slice = slice(name, &DECODE, &[endpoint]);
        slice.metadata.creation_timestamp = serde_json::from_value(json!(made)).unwrap();
        slice
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for (slices, address) in [
        ([of("a", new, "10.0.0.1", false), of("b", old, "10.0.0.2", false)], "10.0.0.1:2"),
        // The pod that is on its way out never hides the one that has taken its name.
        ([of("a", new, "10.0.0.1", true), of("b", old, "10.0.0.2", false)], "10.0.0.2:2"),
        ([of("a", new, "fd00::1", false), of("b", old, "10.0.0.2", false)], "10.0.0.2:2"),
        ([of("a", old, "10.0.0.1", false), of("b", old, "10.0.0.2", false)], "10.0.0.2:2"),
    ] {
        let mut turned = slices.clone();
        turned.reverse();
        for slices in [slices, turned] {
            let (topology, unusable) = topology(&slices, &[]);
            assert_eq!((topology.decode.len(), unusable.len()), (1, 0));
            assert_eq!(topology.decode[0].kv_addr, address);
        }
    }
}

#[test]
fn what_cannot_be_used_is_named_and_the_rest_is_used() {
    let named = |name: &str, kind: &str| json!({"addresses": ["10.0.0.9"], "targetRef": {"kind": kind, "name": name}});
    let odd = [
        json!({"addresses": ["10.0.0.9"]}),
        named("node", "Node"),
        named("Not A Name", "Pod"),
        json!({"addresses": [], "targetRef": {"kind": "Pod", "name": "d-7"}}),
        pod("d-8", "0.0.0.0"),
        pod("d-9", "host.example"),
        pod("d-0", "10.0.0.1"),
    ];
    let half = slice("half", &[("control", 1), ("kv", 0), ("sidecar", 70_000)], &[pod("d-1", "10.0.0.3")]);
    let mut udp = slice("udp", &PREFILL, &[pod("p-1", "10.0.0.4")]);
    udp.ports.as_mut().unwrap()[0].protocol = Some("UDP".into());
    let both = slice("p", &PREFILL, &[pod("p-0", "10.0.0.5"), pod("d-0", "10.0.0.1")]);
    let (topology, unusable) = topology(&[slice("odd", &DECODE, &odd), half], &[udp, both]);
    let names: Vec<_> = topology.decode.iter().map(|member| member.name.as_str()).collect();
    assert_eq!((names, topology.prefill.len()), (vec!["d-0"], 1));
    let told: Vec<_> = unusable.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "an endpoint of slice odd is no pod with a name",
            "pod d-7 has no IP address that others can use",
            "pod d-8 has no IP address that others can use",
            "pod d-9 has no IP address that others can use",
            "pod d-1 has no TCP port named kv",
            "pod d-1 has no TCP port named sidecar",
            "pod p-1 has no TCP port named control",
            "pod d-0 is a decode and a prefill worker; it is taken for a decode worker",
        ]
    );
}

#[test]
fn a_service_of_thousands_is_fine_and_more_are_cut_off() {
    let slices: Vec<_> = (0..100)
        .map(|number| {
            let pods: Vec<_> = (0..100)
                .map(|index| {
                    pod(&format!("p-{:05}", 100 * number + index), &format!("10.0.{number}.{index}"))
                })
                .collect();
            slice(&format!("s-{number}"), &PREFILL, &pods)
        })
        .collect();
    let (topology, unusable) = topology(&[], &slices);
    assert_eq!(unusable, [Unusable::TooMany { count: 10_000 }]);
    assert_eq!(topology.prefill.len(), MAX_MEMBERS);
    assert_eq!(topology.prefill[MAX_MEMBERS - 1].name, format!("p-{:05}", MAX_MEMBERS - 1));
}

fn any_endpoint() -> impl Strategy<Value = Value> {
    let address = prop_oneof![
        Just("10.0.0.1"),
        Just("10.0.0.2"),
        Just("fd00::1"),
        Just("::"),
        Just("x"),
        Just("255.255.255.255")
    ];
    let name = prop_oneof![Just("a-0"), Just("a-1"), Just("A"), Just(""), Just("a-2")];
    (proptest::collection::vec(address, 0..3), name, any::<Option<bool>>(), any::<bool>()).prop_map(
        |(addresses, name, terminating, is_pod)| {
            let target = json!({"kind": if is_pod { "Pod" } else { "Node" }, "name": name});
            json!({"addresses": addresses, "targetRef": target, "conditions": {"terminating": terminating}})
        },
    )
}

fn any_slice() -> impl Strategy<Value = EndpointSlice> {
    let port = (prop_oneof![Just("control"), Just("kv"), Just("sidecar"), Just("x")], -1..70_000_i32);
    let parts =
        ("[a-c]", proptest::collection::vec(port, 0..5), proptest::collection::vec(any_endpoint(), 0..5));
    parts.prop_map(|(name, ports, endpoints)| slice(&name, &ports, &endpoints))
}

proptest! {
    /// Whatever is in the slices: the outcome is a topology that a file could hold, and their order says nothing.
    #[test]
    fn slices_in_any_order_give_one_valid_topology(
        decode in proptest::collection::vec(any_slice(), 0..5),
        prefill in proptest::collection::vec(any_slice(), 0..5),
    ) {
        // Slices of one namespace have names of their own.
        let unique = |mut slices: Vec<EndpointSlice>| {
            for (index, slice) in slices.iter_mut().enumerate() {
                slice.metadata.name = Some(format!("{}-{index}", slice.metadata.name.take().unwrap_or_default()));
            }
            slices
        };
        let (mut decode, mut prefill) = (unique(decode), unique(prefill));
        let first = topology(&decode, &prefill);
        let text = serde_json::to_vec(&first.0).unwrap();
        prop_assert_eq!(&Topology::parse(&text).unwrap(), &first.0);
        decode.reverse();
        prefill.reverse();
        prop_assert_eq!(topology(&decode, &prefill), first);
    }
}
