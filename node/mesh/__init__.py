"""The mesh of one node: what it tells its peers, what it hears, what it checks and whom it believes."""

from node.mesh.judge import Judge
from node.mesh.mesh import Mesh, MeshSettings
from node.mesh.trainings import Trainings
from node.mesh.vault import FolderVault, MemoryVault, Vault
from node.mesh.workbench import Workbench

__all__ = ["FolderVault", "Judge", "MemoryVault", "Mesh", "MeshSettings", "Trainings", "Vault", "Workbench"]
