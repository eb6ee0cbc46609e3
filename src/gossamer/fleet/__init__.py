"""Many machines on several computers: started, moved, upgraded, and brought back after a loss.

    from gossamer.fleet import Fleet

    with Fleet(nodes=2) as fleet:
        mac = fleet.start("mac1", ["-M", "g3beige", "-bios", "builtin"])
        mac.move("node2")

Layers, a file imports only from those below it:

=============  =================================================================================
command, demo  `gossamer fleet ...`
fleet          `Fleet`: nodes, names, where a machine goes
upgrade        a machine in another release: tried with a copy, moved, checked, else back
recovery       checkpoints, and machines of a node that is gone
moves, handle  one machine; from one node to another
local, rays    the ways to reach a node: processes of this computer, or actors of Ray
node           what runs on each computer and holds its machines
emulator, qmp  one machine's process, spoken to by QMP
=============  =================================================================================

Between nodes only JSON travels, between machines the stream of a migration: releases of gossamer
may differ everywhere.  docs/fleet.md.
"""

from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.fleet import Fleet
from gossamer.fleet.handle import Handle
from gossamer.fleet.upgrade import Outcome

__all__ = ["Fleet", "FleetError", "Handle", "NodeLostError", "Outcome"]
