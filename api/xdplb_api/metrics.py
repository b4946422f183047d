# SPDX-License-Identifier: Apache-2.0
"""The metrics: their names, types, labels and help texts, with samples from one view of the manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

from xdplb.control.answers.metrics import BackendMetrics, BackendState, MetricsView, VipMetrics
from xdplb.control.answers.views import BackendStatsView, NotifyView, StoreView, VipStatsView
from xdplb.control.health.passive.latency import BOUNDS
from xdplb.control.health.tally import CheckTally
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.store_standing import StoreState
from xdplb.model.durations import BOUNDS as BOUNDS_OF_TIMES
from xdplb.model.health import HealthCheck, labels_of

from .exposition import NO_LABELS, Family, Histogram, Observed, Sample, labels_text
from .peer_metrics import of_peers
from .process_metrics import of_process
from .rights.figures import Figures

__all__ = ["collect"]

_Samples = Iterable[Sample]
_Stats = TypeVar("_Stats")
_Metrics = TypeVar("_Metrics")


@dataclass(frozen=True, slots=True)
class _Rows(Generic[_Stats, _Metrics]):
    """VIPs, or backends, in the same order: the labels of each, its counters, and what else is known of it."""

    labels: Sequence[str]
    stats: Sequence[_Stats]
    metrics: Sequence[_Metrics]

    def __iter__(self) -> Iterator[tuple[str, _Metrics]]:
        return zip(self.labels, self.metrics, strict=True)

    def counter(self, name: str, words: str, field: str) -> Family:
        """Return the metric of one of the counters."""
        return _counter(name, words, self._column(self.stats, field))

    def known(self, field: str) -> _Samples:
        """Return the samples of a number that is known besides."""
        return self._column(self.metrics, field)

    def _column(self, rows: Sequence[object], field: str) -> _Samples:
        """Return one number of each of these. All of it runs in C: there may be tens of thousands."""
        return zip(self.labels, map(attrgetter(field), rows), strict=True)


_Vips = _Rows[VipStatsView, VipMetrics]
_Backends = _Rows[BackendStatsView, BackendMetrics]


def _vips_of(view: MetricsView) -> _Vips:
    return _Rows([labels_text(vip=stats.vip) for stats in view.stats.vips], view.stats.vips, view.vips)


def _backends_of(vips: _Vips) -> _Backends:
    """Return those of these VIPs. Their addresses need no escape."""
    return _Rows(
        [
            f'{labels},backend="{backend.backend}"'
            for labels, stats in zip(vips.labels, vips.stats, strict=True)
            for backend in stats.backends
        ],
        [backend for stats in vips.stats for backend in stats.backends],
        [backend for metrics in vips.metrics for backend in metrics.backends],
    )


def collect(view: MetricsView, figures: Figures) -> Iterator[Family | Histogram]:
    """Yield all metrics, including those without samples now. Each is made when it is requested.

    `figures` are those of the API itself.
    """
    yield from of_process()
    yield from _of_host(view)
    yield from _of_writing(view)
    yield from _of_drift(view)
    yield from _of_config(view)
    yield from _of_all(view)
    yield from _of_store(view.store)
    yield from _of_flow_table(view)
    vips = _vips_of(view)
    yield from _counters_of_vips(vips)
    yield from _gauges_of_vips(vips)
    backends = _backends_of(vips)
    yield from _counters_of_backends(backends)
    yield from _gauges_of_backends(backends)
    yield from _of_checks(backends)
    yield from _of_checks_standing(view)
    yield from _of_handshakes(backends)
    yield from _of_paths(backends, view)
    yield from of_peers(view.peers)
    yield from _of_events(view)
    yield from _of_notifications(view)
    yield _counter(
        "xdplb_dns_updates_total",
        "Updates of names in DNS since the daemon started: made, lost to another one that was quicker, or failed.",
        [(labels_text(result=result), count) for result, count in view.dns_updates.items()],
    )
    yield from _of_rights(figures)


def _of_host(view: MetricsView) -> Iterator[Family]:
    yield _gauge("xdplb_build_info", "The version of the daemon; always 1.", [(labels_text(version=view.version), 1)])
    yield _gauge(
        "xdplb_start_time_seconds",
        "When the daemon was up, in seconds since 1970.",
        [(NO_LABELS, view.started.timestamp())],
    )
    yield _gauge(
        "xdplb_clock_ahead_seconds",
        "How far the wall clock has been set forward since the state was made; changes while it is being set.",
        [(NO_LABELS, view.clock_ahead.total_seconds())],
    )
    yield _gauge("xdplb_generation", "The number of the last accepted change.", [(NO_LABELS, view.generation)])
    yield _gauge(
        "xdplb_observed_generation",
        "The last generation that the data plane has completely.",
        [(NO_LABELS, view.observed_generation)],
    )
    yield _gauge(
        "xdplb_interface_attached",
        "Whether the program is on a NIC that was asked for; with its XDP mode, or the one asked for.",
        [(labels_text(iface=one.interface, mode=one.mode), int(one.attached)) for one in view.nics],
    )
    yield _gauge(
        "xdplb_program_held_back",
        "Whether an older program is in use, since that of this version was rolled back.",
        [(NO_LABELS, int(view.held_back))],
    )
    yield _gauge(
        "xdplb_node_state",
        "What this node does with traffic; always 1.",
        [(labels_text(state=view.node.value), 1)],
    )
    yield _gauge(
        "xdplb_interface_up",
        "Whether a NIC that was asked for is up and has a carrier.",
        [(labels_text(iface=one.interface), int(one.up)) for one in view.nics if one.up is not None],
    )
    yield _counter(
        "xdplb_packets_total",
        "Packets that came in by a NIC, by what XDP did with them.",
        [
            (labels_text(iface=interface, action=action), count)
            for interface, counted in view.stats.nics.items()
            for action, count in counted.items()
        ],
    )
    yield _counter(
        "xdplb_unwrapped_packets_total",
        "Packets taken out of tunnels that end at the balancer.",
        [(NO_LABELS, view.stats.unwrapped)],
    )
    for name, words, packets in (
        ("xdplb_drops_total", "Packets dropped.", view.stats.drops),
        ("xdplb_passes_total", "Packets passed to the host's own stack.", view.stats.passes),
        ("xdplb_answers_total", "Packets answered by the balancer.", view.stats.answers),
    ):
        yield _counter(name, words, [(labels_text(reason=reason), count) for reason, count in packets.items()])


def _of_drift(view: MetricsView) -> Iterator[Family]:
    yield _counter(
        "xdplb_drift_total",
        "What was found not to be as it should be since the daemon started, and whether it was put right at once.",
        [
            (labels_text(kind=kind.value, repaired=str(repaired).lower()), count)
            for (kind, repaired), count in view.drift_counts.items()
        ],
    )
    yield _gauge(
        "xdplb_drift_present",
        "What is not as it should be now.",
        [(labels_text(kind=kind.value), count) for kind, count in view.drift.items()],
    )
    yield _gauge(
        "xdplb_thread_hung",
        "Whether a thread of the daemon has done nothing for many seconds, though it has something to do.",
        [(labels_text(thread=thread), int(hung)) for thread, hung in view.hung.items()],
    )


def _of_writing(view: MetricsView) -> Iterator[Family | Histogram]:
    yield _gauge(
        "xdplb_changes_waiting",
        "Changes that were asked for and are not made yet.",
        [(NO_LABELS, view.changes_waiting)],
    )
    yield Histogram(
        "xdplb_map_update_seconds",
        "How long it took to bring the maps from one state to the next.",
        BOUNDS_OF_TIMES,
        [Observed(NO_LABELS, view.map_updates.counts, view.map_updates.sum)],
    )


def _of_all(view: MetricsView) -> Iterator[Family]:
    """Yield counts of all VIPs and backends, which are there at each level."""
    yield _gauge(
        "xdplb_vips",
        "VIPs of this status.",
        [(labels_text(status=status.value), view.vip_statuses.get(status, 0)) for status in OperatingStatus],
    )
    yield _gauge(
        "xdplb_backends",
        "Backends of all VIPs in this state.",
        [(labels_text(state=state.value), view.backend_states.get(state, 0)) for state in BackendState],
    )
    yield _gauge(
        "xdplb_table_entries",
        "VIPs and backends in the maps.",
        [(labels_text(table=table), use.used) for table, use in view.tables.items()],
    )
    yield _gauge(
        "xdplb_table_capacity",
        "How many VIPs and backends the maps have room for.",
        [(labels_text(table=table), use.capacity) for table, use in view.tables.items()],
    )


def _of_config(view: MetricsView) -> Iterator[Family]:
    truth = view.truth
    yield _gauge(
        "xdplb_config_last_reload_success_timestamp_seconds",
        "When the config file was taken last, in seconds since 1970; no sample without one.",
        [] if view.config_taken is None else [(NO_LABELS, view.config_taken.timestamp())],
    )
    yield _gauge(
        "xdplb_config_last_reload_ok",
        "Whether the config file, if there is one, was taken when it was read last.",
        [(NO_LABELS, int(not truth.error))],
    )
    yield _gauge(
        "xdplb_config_overlay_backends",
        "Backends with another weight or admin state than the config file says.",
        [(NO_LABELS, truth.overlay)],
    )


def _of_store(store: StoreView | None) -> Iterator[Family]:
    """Yield the metrics of the store that balancers share; without samples if this one is alone."""

    def sample(number: Callable[[StoreView], float]) -> list[Sample]:
        return [] if store is None else [(NO_LABELS, number(store))]

    yield _gauge(
        "xdplb_store_up",
        "Whether the store answers, and has what this balancer has.",
        sample(lambda known: int(known.state is StoreState.UP)),
    )
    yield _gauge(
        "xdplb_store_revision",
        "The revision of the store at which this balancer is.",
        sample(lambda known: known.revision),
    )
    yield _gauge(
        "xdplb_store_generation",
        "The generation in the store, as this balancer knows it.",
        sample(lambda known: known.generation),
    )
    yield _gauge(
        "xdplb_store_pending_backends",
        "Backends that were changed here while the store was away, and are not written to it yet.",
        sample(lambda known: len(known.pending)),
    )
    yield _gauge(
        "xdplb_store_refused_entries",
        "VIPs and backends in the store that this balancer does not take.",
        sample(lambda known: len(known.refused)),
    )
    yield _counter(
        "xdplb_store_writes_total",
        "Changes that this balancer has written to the store since the daemon started.",
        sample(lambda known: known.writes),
    )
    yield _counter(
        "xdplb_store_conflicts_total",
        "Writes that were prepared anew since another balancer was first.",
        sample(lambda known: known.conflicts),
    )


def _of_flow_table(view: MetricsView) -> Iterator[Family]:
    table = view.stats.flow_table
    yield _gauge("xdplb_flow_entries", "Records of open flows, as of the last count.", [(NO_LABELS, table.used)])
    yield _gauge("xdplb_flow_capacity", "Capacity of the flow table, in records.", [(NO_LABELS, table.capacity)])
    yield _counter(
        "xdplb_flow_evictions_total",
        "Records evicted since the daemon started because the flow table was full.",
        [(NO_LABELS, table.evicted)],
    )


def _counters_of_vips(vips: _Vips) -> Iterator[Family]:
    yield vips.counter("xdplb_vip_packets_total", "Packets forwarded.", "packets")
    yield vips.counter("xdplb_vip_bytes_total", "Bytes of those packets, as received.", "bytes")
    yield vips.counter("xdplb_vip_new_flows_total", "New connections.", "new_flows")
    yield vips.counter("xdplb_vip_records_total", "Flows added to the flow table.", "records")
    yield vips.counter("xdplb_vip_replies_total", "Packets of nat backends sent on to clients.", "replies")
    yield vips.counter("xdplb_connections_at_risk_total", "Packets of old connections without a record.", "at_risk")


def _gauges_of_vips(vips: _Vips) -> Iterator[Family]:
    def gauge(name: str, words: str, field: str) -> Family:
        return _gauge(name, words, vips.known(f"view.{field}"))

    yield gauge("xdplb_vip_backends", "Backends.", "backends")
    yield gauge("xdplb_vip_backends_serving", "Healthy backends that take new connections.", "backends_serving")
    yield gauge(
        "xdplb_vip_backends_needed",
        "Backends that must be healthy and take new connections, by min_serving.",
        "backends_needed",
    )
    yield _gauge(
        "xdplb_vip_status",
        "The status of the VIP; always 1. There are no samples for its other states.",
        ((f'{labels},status="{vip.view.operating_status}"', 1) for labels, vip in vips),
    )
    yield _gauge(
        "xdplb_vip_announced",
        "Whether the route of a VIP that asks for one is in the table, with whatever metric.",
        (
            (labels, int(announced.metric is not None))
            for labels, vip in vips
            if (announced := vip.view.announced) is not None
        ),
    )
    yield _gauge(
        "xdplb_vip_in_dns",
        "1 if the VIP's address is under its name in DNS. There are no samples for VIPs without a name.",
        ((labels, float(dns.is_published)) for labels, vip in vips if (dns := vip.view.dns) is not None),
    )
    yield _gauge(
        "xdplb_vip_failing_open",
        "Whether backends that are not healthy get new connections.",
        ((labels, int(vip.view.operating_status is OperatingStatus.FAILING_OPEN)) for labels, vip in vips),
    )
    yield _counter(
        "xdplb_vip_transitions_total",
        "How often the status of the VIP has changed since the daemon started.",
        vips.known("transitions"),
    )
    yield _gauge("xdplb_slots", "Slots of the VIP's table in this state.", _slots(vips))


def _slots(vips: _Vips) -> _Samples:
    for labels, vip in vips:
        slots = vip.view.slots
        yield f'{labels},state="steady"', slots.steady
        yield f'{labels},state="moving"', slots.moving
        yield f'{labels},state="pinned"', slots.pinned


def _counters_of_backends(backends: _Backends) -> Iterator[Family]:
    yield backends.counter("xdplb_backend_packets_total", "Packets forwarded to the backend.", "packets")
    yield backends.counter("xdplb_backend_bytes_total", "Bytes of those packets, as received.", "bytes")
    yield backends.counter("xdplb_backend_new_flows_total", "New connections.", "new_flows")
    yield backends.counter(
        "xdplb_backend_replies_total", "Packets of the backend, if reached by nat, sent on to clients.", "replies"
    )
    yield _counter("xdplb_backend_second_choices_total", "New connections that went to another one.", _second(backends))


def _second(backends: _Backends) -> _Samples:
    for labels, stats in zip(backends.labels, backends.stats, strict=True):
        yield f'{labels},cause="failover"', stats.failovers
        yield f'{labels},cause="max_new_flows"', stats.over


def _gauges_of_backends(backends: _Backends) -> Iterator[Family]:
    yield _gauge(
        "xdplb_backend_state",
        "The state of the backend; always 1. There are no samples for its other states.",
        ((f'{labels},state="{each.state}"', 1) for labels, each in backends),
    )
    yield _gauge("xdplb_backend_weight", "The configured weight.", backends.known("weight"))
    yield _gauge(
        "xdplb_backend_effective_weight",
        "The weight that counts: the configured one, or what its agent wants in the place of that.",
        backends.known("effective_weight"),
    )
    yield _counter(
        "xdplb_backend_transitions_total",
        "How often the health of the backend has changed since the daemon started.",
        backends.known("transitions"),
    )
    yield _gauge(
        "xdplb_backend_draining_flows",
        "Open connections that a drain waits for, as of the last scan.",
        ((labels, each.draining_flows) for labels, each in backends if each.draining_flows is not None),
    )


def _of_checks(backends: _Backends) -> Iterator[Family]:
    yield _counter(
        "xdplb_health_checks_total",
        "Results of checks since the daemon started or the check changed.",
        _results(backends),
    )
    yield _gauge("xdplb_health_check_duration_seconds", "Duration of the last check.", _durations(backends))


def _of_checks_standing(view: MetricsView) -> Iterator[Family | Histogram]:
    standing = view.standing
    yield Histogram(
        "xdplb_health_check_latency_seconds",
        "How long checks of this type took since the daemon started, of all backends, until they passed or failed.",
        BOUNDS_OF_TIMES,
        (Observed(labels_text(type=kind.value), taken.counts, taken.sum) for kind, taken in view.latencies.items()),
    )
    yield _gauge(
        "xdplb_health_checks_overdue",
        "Checks that have had no result for longer than they should, since this host cannot run them.",
        [(NO_LABELS, standing.overdue)],
    )
    yield _gauge("xdplb_health_probes", "Probes of checks under way.", [(NO_LABELS, standing.probes)])
    yield _gauge(
        "xdplb_health_probes_limit", "How many may be under way at a time.", [(NO_LABELS, standing.most_probes)]
    )
    yield _gauge(
        "xdplb_loop_pause_seconds",
        "The longest time in the last minute or two in which the control loop did one thing and all else waited.",
        [(NO_LABELS, view.longest_pause)],
    )


def _of_handshakes(backends: _Backends) -> Iterator[Family | Histogram]:
    """Yield what is known of sampled handshakes; without samples for VIPs that are not sampled."""
    sampled = [(labels, each.handshakes) for labels, each in backends if each.handshakes is not None]
    yield _counter(
        "xdplb_backend_handshakes_total",
        "Handshakes of the connections that are sampled, by what became of them.",
        (
            (f'{labels},result="{result}"', count)
            for labels, found in sampled
            for result, count in found.results.items()
        ),
    )
    yield Histogram(
        "xdplb_backend_handshake_seconds",
        "Time from the SYN of a sampled connection to the client's answer to the SYN-ACK.",
        BOUNDS,
        (Observed(labels, found.latency, found.latency_seconds) for labels, found in sampled),
    )
    yield _counter(
        "xdplb_backend_ejections_total",
        "How often passive health has ejected the backend since the daemon started.",
        ((labels, found.ejections) for labels, found in sampled),
    )


def _results(backends: _Backends) -> _Samples:
    for labels, tally in _tallies(backends):
        yield f'{labels},result="passed"', tally.passes
        yield f'{labels},result="failed"', tally.failures


def _durations(backends: _Backends) -> _Samples:
    for labels, tally in _tallies(backends):
        if tally.last is not None and tally.last.passed is not None:  # None: it could not be run
            yield labels, tally.last.seconds


def _tallies(backends: _Backends) -> Iterator[tuple[str, CheckTally]]:
    """Yield the labels and the results of each check of each backend."""
    checks: tuple[HealthCheck, ...] = ()
    names: Sequence[str] = ()
    for labels, each in backends:
        if each.checks is not checks:  # those of another VIP; to compare them would take longer than all the rest
            checks = each.checks
            names = [labels_text(check=label) for label in labels_of(checks)]
        for name, tally in zip(names, each.tallies, strict=False):  # a check that is new has no tally yet
            yield f"{labels},{name}", tally


def _of_paths(backends: _Backends, view: MetricsView) -> Iterator[Family]:
    yield _gauge(
        "xdplb_backend_mtu_bytes",
        "The longest packet that is sent to the backend, with its outer headers.",
        ((labels, each.mtu) for labels, each in backends if each.mtu is not None),
    )
    yield _counter(
        "xdplb_backend_path_errors_total",
        "ICMP errors about packets in the tunnel to the backend, since the daemon started; no samples if none came.",
        ((f'{labels},kind="{kind}"', count) for labels, each in backends for kind, count in each.path_errors.items()),
    )
    yield _counter(
        "xdplb_path_errors_ignored_total",
        "ICMP errors about packets in tunnels that were not believed, since the daemon started.",
        [(labels_text(reason=reason.value), count) for reason, count in view.ignored_errors.items()],
    )


def _of_rights(figures: Figures) -> Iterator[Family]:
    yield _counter(
        "xdplb_api_refused_total",
        "Requests to the API without a right token or certificate, or without the role, since the daemon started.",
        [(labels_text(reason=reason), count) for reason, count in figures.refused.items()],
    )
    yield _gauge(
        "xdplb_tls_certificate_expiry_timestamp_seconds",
        "When the API's certificate expires, in seconds since 1970; no sample without TLS.",
        [] if figures.expires is None else [(NO_LABELS, figures.expires)],
    )


def _of_events(view: MetricsView) -> Iterator[Family]:
    events = view.events
    yield _counter("xdplb_events_total", "Events since the daemon started.", [(NO_LABELS, events.came)])
    yield _counter(
        "xdplb_events_dropped_total",
        "Events that only the log has: too many came at once, or they could not be written for too long.",
        [(NO_LABELS, events.dropped)],
    )
    yield _gauge("xdplb_events_waiting", "Events that are not written yet.", [(NO_LABELS, events.waiting)])
    yield _gauge("xdplb_events_kept", "Events that are kept.", [(NO_LABELS, events.rows)])
    yield _gauge("xdplb_events_writable", "Whether events can be written now.", [(NO_LABELS, int(not events.error))])


def _of_notifications(view: MetricsView) -> Iterator[Family]:
    by_name: dict[str, list[NotifyView]] = {}
    for each in view.notified:
        by_name.setdefault(each.name, []).append(each)  # the same command may be there twice

    def samples(field: str) -> _Samples:
        return [
            (labels_text(target=name), sum(getattr(each, field) for each in same))
            for name, same in sorted(by_name.items())
        ]

    yield _counter("xdplb_notify_sent_total", "Events that a command or webhook of --notify took.", samples("sent"))
    yield _counter("xdplb_notify_failed_total", "Tries to hand an event on that failed.", samples("failed"))
    yield _counter("xdplb_notify_dropped_total", "Events that it will not get any more.", samples("dropped"))
    yield _gauge("xdplb_notify_waiting", "Events that it has not got yet.", samples("waiting"))


def _counter(name: str, words: str, samples: _Samples) -> Family:
    return Family(name, "counter", words, samples)


def _gauge(name: str, words: str, samples: _Samples) -> Family:
    return Family(name, "gauge", words, samples)
