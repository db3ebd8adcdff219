# The local cluster; included by the root Makefile. NAME, FLAVOUR (api|nodes) and NODES choose what is started.
FLAVOUR ?= nodes
PYTHON ?= python3
INFERFLEET_LOCAL = PYTHONPATH=deploy/local/src $(PYTHON) -m inferfleet_local

.PHONY: cluster-up cluster-status cluster-down
cluster-up: ## start a Kubernetes cluster on this machine
	$(INFERFLEET_LOCAL) up --flavour $(FLAVOUR) $(if $(NODES),--nodes $(NODES)) $(if $(NAME),--name $(NAME))
cluster-status: ## describe the clusters that are there
	$(INFERFLEET_LOCAL) status $(if $(NAME),--name $(NAME))
cluster-down: ## take the cluster down and remove all that it made
	$(INFERFLEET_LOCAL) down --flavour $(FLAVOUR) $(if $(NAME),--name $(NAME))
