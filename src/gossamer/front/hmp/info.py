"""The monitor's ``info``: a row for each query, in QEMU's form where it has one."""

from __future__ import annotations

from gossamer.control.commands.machines import query_cpus_fast
from gossamer.control.commands.texts import query_netdevs, query_network
from gossamer.control.session import Session
from gossamer.front.hmp import query_texts, texts
from gossamer.front.hmp.row_table import composed, row
from gossamer.front.hmp.words import Arguments
from gossamer.machines.device_options import list_devices

row("info status", "", "query-status", texts.status)
row("info registers", "", "x-query-registers", texts.registers)
row("info pic", "", "x-query-pic", texts.chip_states)
row("info irq", "", "x-query-cpu-irq", texts.irqs)
row("info qtree", "", "x-query-qtree", texts.tree)
row("info hash", "", "x-query-hash", query_texts.state_hash)
row("info jit", "", "x-query-jit", texts.human)
row("info mtree", "", "x-query-mtree", texts.memory_map)
row("info snapshots", "", "x-query-snapshots", texts.snapshots)
row("info save", "", "x-query-save", texts.save)
row("info block", "", "x-query-drives", texts.drives)
row("info migrate", "", "query-migrate", texts.migration)
row("info migrate_parameters", "", "query-migrate-parameters", texts.parameters)
row("info migrate_capabilities", "", "query-migrate-capabilities", texts.capabilities)
row("info name", "", "query-name", texts.name)
row("info version", "", "query-version", texts.version)
row("info uuid", "", "query-uuid", query_texts.uuid)
row("info kvm", "", "query-kvm", query_texts.kvm)


def _cpus(session: Session, given: Arguments) -> str:
    return query_texts.cpus(query_cpus_fast(session), session.cpu_index)


composed("info cpus", "", "the CPUs, the one that is looked at with *", _cpus)
row("info chardev", "", "query-chardev", query_texts.chardevs)
row("info blockstats", "", "query-blockstats", query_texts.block_stats)
row("info block-jobs", "", "query-block-jobs", query_texts.block_jobs)
row("info jobs", "", "query-jobs", query_texts.jobs)
row("info mice", "", "query-mice", query_texts.mice)
row("info pci", "", "query-pci", query_texts.pci)
row("info vnc", "", "query-vnc-servers", query_texts.vnc)
row("info web", "", "x-query-web", query_texts.web)
row("info balloon", "", "query-balloon")
row("info iothreads", "", "query-iothreads", query_texts.none)
row("info tpm", "", "query-tpm-models", query_texts.none)
row("info memory-devices", "", "query-memory-devices", query_texts.none)
row("info memory_size_summary", "", "query-memory-size-summary", query_texts.memory_size)
row("info hotpluggable-cpus", "", "query-hotpluggable-cpus")
row("info replay", "", "query-replay", query_texts.replay)
row("info dump", "", "query-dump", query_texts.dump)
composed(
    "info network", "", "the network cards, and what their cables lead to",
    lambda session, given: query_texts.network(query_network(session), query_netdevs(session)),
)  # fmt: skip
row("info usernet", "", "x-query-usernet", texts.human)
row("info usb", "", "x-query-usb", texts.human)
row("info roms", "", "x-query-roms", texts.human)
row("info ramblock", "", "x-query-ramblock", texts.human)
row("info objects", "", "x-query-objects", texts.human)
row("info fdsets", "", "query-fdsets", query_texts.fd_sets)
row("info machines", "", "query-machines", query_texts.machines)
row("info commands", "", "query-commands", query_texts.names)
row("info display", "", "query-display-options", query_texts.display)
row("info target", "", "query-target", query_texts.target)
row("info chardev-backends", "", "query-chardev-backends", query_texts.names)
row("info block-nodes", "[-f:flat]", "query-named-block-nodes", query_texts.nodes)


def _qom_tree(session: Session, given: Arguments) -> str:
    return query_texts.qom_tree(session, given.get("path", "/machine"))


composed("info qom-tree", "[PATH:path]", "the objects below a path", _qom_tree)
composed("info qdm", "", "the devices that -device takes", lambda session, given: list_devices())
