//! What is left of a try that failed by a fault of ours.

use std::sync::Arc;

use seatrial_core::{
    engine::EngineError,
    job::{Ending, Stage},
};
use seatrial_pipeline::service::read;
use seatrial_policy::Network;

use crate::service::House;

#[tokio::test(start_paused = true)]
async fn what_each_try_asked_of_the_network_is_told_in_the_end() {
    // Whoever forgets how to end a worker has one that never rests.
    let mut workers = Vec::new();
    for faults in [1, 2] {
        let mut house = House::new();
        let mut settings = (*house.service.settings).clone();
        settings.policy.network.build = Network::Egress;
        house.service.settings = Arc::new(settings);
        for _ in 0..faults {
            let gone = EngineError::Unreachable("gone".into());
            house.fake.script().build_errors.push_back(gone);
        }
        workers.push(house.worker("ann"));
        let id = house.submit().await;
        let ending = if faults == 1 {
            Ending::Succeeded
        } else {
            Ending::Errored
        };
        assert_eq!(house.end(id).await.0, ending);
        let view = read::view(&house.service, &house.record(id).await).await.unwrap();
        let asked = &view.egress[&Stage::Build].requests;
        let hosts: Vec<&str> = asked.iter().map(|row| &*row.host).collect();
        assert_eq!(hosts, ["try-1.example", "try-2.example"]);
    }
}
