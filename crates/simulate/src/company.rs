//! The company: its services, who calls whom, and the fleet of instances that runs them.
//!
//! Invariants: the dependency graph is what [`ROUTES`] say and has no cycles; profiles stand in the order of
//! [`Service::ALL`]; an instance has a host of its own.

use std::fmt;
use std::sync::Arc;

use rand::RngCore;

use crate::dice::index;

/// A service of the company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Service {
    EdgeLoadBalancer,
    WebFrontend,
    AuthApi,
    CoreDb,
    PaymentGateway,
    OrderApi,
    CatalogApi,
    CartApi,
    InventoryApi,
    SearchApi,
    RecommendationEngine,
    FraudScreen,
    ShippingApi,
    NotificationHub,
    SessionCache,
    MessageQueue,
    ObjectStorage,
    BatchScheduler,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 18] = [
        Service::EdgeLoadBalancer,
        Service::WebFrontend,
        Service::AuthApi,
        Service::CoreDb,
        Service::PaymentGateway,
        Service::OrderApi,
        Service::CatalogApi,
        Service::CartApi,
        Service::InventoryApi,
        Service::SearchApi,
        Service::RecommendationEngine,
        Service::FraudScreen,
        Service::ShippingApi,
        Service::NotificationHub,
        Service::SessionCache,
        Service::MessageQueue,
        Service::ObjectStorage,
        Service::BatchScheduler,
    ];

    /// The name in records, such as `AUTH-API`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.profile().name
    }

    /// The service of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name().eq_ignore_ascii_case(name))
    }

    /// The services it calls, in the order of [`Service::ALL`].
    #[must_use]
    pub fn dependencies(self) -> Vec<Service> {
        let mut found: Vec<Service> =
            edges().into_iter().filter(|edge| edge.0 == self).map(|edge| edge.1).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    pub(crate) fn profile(self) -> &'static Profile {
        &PROFILES[self as usize]
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Software a service is built on; it decides how its log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    Nginx,
    Java,
    Go,
    Node,
    Postgres,
    Redis,
    Kafka,
}

impl Stack {
    /// Name in `messages.txt`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stack::Nginx => "nginx",
            Stack::Java => "java",
            Stack::Go => "go",
            Stack::Node => "node",
            Stack::Postgres => "postgres",
            Stack::Redis => "redis",
            Stack::Kafka => "kafka",
        }
    }

    /// Whether calls to it are answered with an HTTP status.
    pub(crate) fn speaks_http(self) -> bool {
        matches!(self, Stack::Nginx | Stack::Java | Stack::Go | Stack::Node)
    }
}

/// How a service is on an ordinary day.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) service: Service,
    pub(crate) name: &'static str,
    /// Start of the names of its instances.
    pub(crate) slug: &'static str,
    pub(crate) stack: Stack,
    pub(crate) instance_count: usize,
    /// Requests per second of one instance.
    pub(crate) requests_per_second: f64,
    /// Time spent in the service itself, without the calls it makes, ms (median).
    pub(crate) latency_ms: f64,
    pub(crate) cpu_percent: f64,
    pub(crate) memory_percent: f64,
    pub(crate) disk_percent: f64,
}

const PROFILES: [Profile; 18] = {
    use Service::*;
    use Stack::*;
    [
        profile(EdgeLoadBalancer, "EDGE-LOAD-BALANCER", "edge-lb", Nginx, 3, 820.0, 1.2, [34.0, 38.0, 31.0]),
        profile(WebFrontend, "WEB-FRONTEND", "web-frontend", Node, 4, 240.0, 14.0, [41.0, 52.0, 27.0]),
        profile(AuthApi, "AUTH-API", "auth-api", Go, 3, 110.0, 22.0, [29.0, 36.0, 24.0]),
        profile(CoreDb, "CORE-DB", "core-db", Postgres, 3, 950.0, 3.1, [38.0, 71.0, 58.0]),
        profile(
            PaymentGateway,
            "PAYMENT-GATEWAY",
            "payment-gateway",
            Java,
            3,
            45.0,
            64.0,
            [31.0, 58.0, 33.0],
        ),
        profile(OrderApi, "ORDER-API", "order-api", Java, 3, 70.0, 18.0, [36.0, 61.0, 35.0]),
        profile(CatalogApi, "CATALOG-API", "catalog-api", Java, 3, 310.0, 9.0, [39.0, 63.0, 38.0]),
        profile(CartApi, "CART-API", "cart-api", Go, 3, 150.0, 6.5, [26.0, 34.0, 22.0]),
        profile(InventoryApi, "INVENTORY-API", "inventory-api", Go, 2, 130.0, 7.5, [28.0, 37.0, 29.0]),
        profile(SearchApi, "SEARCH-API", "search-api", Java, 3, 95.0, 31.0, [47.0, 68.0, 52.0]),
        profile(
            RecommendationEngine,
            "RECOMMENDATION-ENGINE",
            "recommender",
            Go,
            2,
            85.0,
            26.0,
            [49.0, 66.0, 41.0],
        ),
        profile(FraudScreen, "FRAUD-SCREEN", "fraud-screen", Java, 2, 44.0, 35.0, [37.0, 55.0, 28.0]),
        profile(ShippingApi, "SHIPPING-API", "shipping-api", Node, 2, 25.0, 28.0, [22.0, 41.0, 26.0]),
        profile(NotificationHub, "NOTIFICATION-HUB", "notify", Node, 2, 60.0, 17.0, [24.0, 39.0, 23.0]),
        profile(SessionCache, "SESSION-CACHE", "session-cache", Redis, 3, 1900.0, 0.4, [21.0, 64.0, 19.0]),
        profile(MessageQueue, "MESSAGE-QUEUE", "queue", Kafka, 3, 420.0, 2.2, [33.0, 57.0, 54.0]),
        profile(ObjectStorage, "OBJECT-STORAGE", "object-store", Go, 3, 75.0, 19.0, [27.0, 43.0, 61.0]),
        profile(BatchScheduler, "BATCH-SCHEDULER", "scheduler", Java, 1, 2.0, 450.0, [18.0, 46.0, 34.0]),
    ]
};

#[expect(clippy::too_many_arguments, reason = "one row of the table above")]
const fn profile(
    service: Service,
    name: &'static str,
    slug: &'static str,
    stack: Stack,
    instance_count: usize,
    requests_per_second: f64,
    latency_ms: f64,
    percents: [f64; 3],
) -> Profile {
    let [cpu_percent, memory_percent, disk_percent] = percents;
    Profile {
        service,
        name,
        slug,
        stack,
        instance_count,
        requests_per_second,
        latency_ms,
        cpu_percent,
        memory_percent,
        disk_percent,
    }
}

/// A call of a service, and the calls it makes in turn, one after another.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) service: Service,
    pub(crate) calls: &'static [Call],
}

/// A kind of request that users make; it enters at the edge.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Ids that may follow the path; 0 for none.
    pub(crate) item_count: u64,
    /// Share of all requests, relative to the other routes.
    pub(crate) weight: u64,
    /// Whether it is an attempt to log in.
    pub(crate) login: bool,
    pub(crate) call: Call,
}

const fn leaf(service: Service) -> Call {
    Call { service, calls: &[] }
}

const fn node(service: Service, calls: &'static [Call]) -> Call {
    Call { service, calls }
}

const fn route(method: &'static str, path: &'static str, item_count: u64, weight: u64, call: Call) -> Route {
    Route { method, path, item_count, weight, login: false, call }
}

use Service as S;
const SESSION: Call = leaf(S::SessionCache);
const DB: Call = leaf(S::CoreDb);
const QUEUE: Call = leaf(S::MessageQueue);

/// What users do, and the way each request takes through the company.
pub(crate) const ROUTES: &[Route] = &[
    route(
        "GET",
        "/",
        0,
        20,
        node(
            S::EdgeLoadBalancer,
            &[node(
                S::WebFrontend,
                &[SESSION, node(S::CatalogApi, &[DB]), node(S::RecommendationEngine, &[SESSION])],
            )],
        ),
    ),
    route(
        "GET",
        "/product",
        90_000,
        30,
        node(
            S::EdgeLoadBalancer,
            &[node(
                S::WebFrontend,
                &[SESSION, node(S::CatalogApi, &[DB, leaf(S::ObjectStorage)]), node(S::InventoryApi, &[DB])],
            )],
        ),
    ),
    route(
        "GET",
        "/search",
        0,
        18,
        node(S::EdgeLoadBalancer, &[node(S::SearchApi, &[node(S::CatalogApi, &[DB])])]),
    ),
    route(
        "POST",
        "/api/cart",
        0,
        12,
        node(S::EdgeLoadBalancer, &[node(S::CartApi, &[SESSION, node(S::InventoryApi, &[DB])])]),
    ),
    Route {
        login: true,
        ..route("POST", "/api/login", 0, 8, node(S::EdgeLoadBalancer, &[node(S::AuthApi, &[SESSION, DB])]))
    },
    route(
        "POST",
        "/api/orders",
        0,
        7,
        node(
            S::EdgeLoadBalancer,
            &[node(
                S::OrderApi,
                &[
                    leaf(S::CartApi),
                    node(S::InventoryApi, &[DB]),
                    node(S::PaymentGateway, &[leaf(S::FraudScreen), DB]),
                    DB,
                    node(S::NotificationHub, &[QUEUE]),
                ],
            )],
        ),
    ),
    route(
        "POST",
        "/api/payments",
        0,
        6,
        node(
            S::EdgeLoadBalancer,
            &[node(S::PaymentGateway, &[SESSION, node(S::FraudScreen, &[DB]), DB, QUEUE])],
        ),
    ),
    route("GET", "/api/orders", 900_000, 6, node(S::EdgeLoadBalancer, &[node(S::OrderApi, &[SESSION, DB])])),
    route(
        "GET",
        "/api/shipments",
        900_000,
        4,
        node(S::EdgeLoadBalancer, &[node(S::ShippingApi, &[DB, leaf(S::ObjectStorage)])]),
    ),
    route(
        "POST",
        "/internal/jobs",
        9_000,
        1,
        node(S::EdgeLoadBalancer, &[node(S::BatchScheduler, &[DB, QUEUE, leaf(S::ObjectStorage)])]),
    ),
];

/// Every (caller, called) pair of the routes, with repetitions.
fn edges() -> Vec<(Service, Service)> {
    fn collect(call: &Call, found: &mut Vec<(Service, Service)>) {
        for called in call.calls {
            found.push((call.service, called.service));
            collect(called, found);
        }
    }
    let mut found = Vec::new();
    ROUTES.iter().for_each(|route| collect(&route.call, &mut found));
    found
}

const REGIONS: [(&str, &str); 3] = [("eu-west-1", "euw1"), ("us-east-1", "use1"), ("ap-south-1", "aps1")];

/// A running copy of a service on a machine of its own.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) service: Service,
    pub(crate) name: Arc<str>,
    pub(crate) host: Arc<str>,
    pub(crate) region: &'static str,
    pub(crate) region_label: Arc<str>,
}

/// All instances, those of one service side by side.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    instances: Vec<Instance>,
    // INVARIANT: the instances of service `s` are `starts[s]..starts[s + 1]`, never none.
    starts: Vec<usize>,
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        let mut fleet = Fleet { instances: Vec::new(), starts: vec![0] };
        for profile in &PROFILES {
            fleet.instances.extend((0..profile.instance_count).map(|at| instance(profile, at)));
            fleet.starts.push(fleet.instances.len());
        }
        fleet
    }

    pub(crate) fn all(&self) -> &[Instance] {
        &self.instances
    }

    pub(crate) fn of(&self, service: Service) -> &[Instance] {
        &self.instances[self.starts[service as usize]..self.starts[service as usize + 1]]
    }

    /// Any instance of the service.
    pub(crate) fn pick<R: RngCore>(&self, rng: &mut R, service: Service) -> &Instance {
        let instances = self.of(service);
        &instances[index(rng, instances.len())]
    }
}

fn instance(profile: &Profile, at: usize) -> Instance {
    let (region, short) = REGIONS[at % REGIONS.len()];
    let number = at + 1;
    Instance {
        service: profile.service,
        name: format!("{}-{number}", profile.slug).into(),
        host: format!("{short}-{}-{number:02}", profile.slug).into(),
        region,
        region_label: region.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_stand_in_order() {
        for (at, service) in Service::ALL.into_iter().enumerate() {
            assert_eq!(PROFILES[at].service, service);
            assert_eq!(Service::from_name(service.name()), Some(service));
            assert!(!Fleet::new().of(service).is_empty());
        }
    }

    #[test]
    fn dependencies_have_no_cycle() {
        let mut left: Vec<(Service, Vec<Service>)> = Service::ALL.map(|s| (s, s.dependencies())).into();
        while !left.is_empty() {
            let free: Vec<Service> =
                left.iter().filter(|(_, needs)| needs.is_empty()).map(|(s, _)| *s).collect();
            assert!(!free.is_empty(), "a cycle among {left:?}");
            left.retain(|(service, _)| !free.contains(service));
            left.iter_mut().for_each(|(_, needs)| needs.retain(|service| !free.contains(service)));
        }
    }

    #[test]
    fn the_order_service_needs_what_an_order_needs() {
        let needs: Vec<&str> = Service::OrderApi.dependencies().into_iter().map(Service::name).collect();
        assert_eq!(
            needs,
            ["CORE-DB", "PAYMENT-GATEWAY", "CART-API", "INVENTORY-API", "NOTIFICATION-HUB", "SESSION-CACHE"]
        );
    }
}
