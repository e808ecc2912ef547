"""Stands for flytekitplugins in a process that multiprocessing starts."""

from nfresume.tasks import standins

standins.replace(__name__)
