# The local cluster; included by the root Makefile. FLAVOUR (api|nodes), NODES, NAME and
# IMAGES (operator engine-cpu) choose what is started; ALL=1 takes every cluster down.
FLAVOUR ?= nodes
PYTHON ?= python3
INFERFLEET_LOCAL = PYTHONPATH=deploy/local/src $(PYTHON) -m inferfleet_local

.PHONY: cluster-up cluster-status cluster-down
cluster-up: ## Start a Kubernetes cluster on this machine
	$(INFERFLEET_LOCAL) up --flavour $(FLAVOUR) $(if $(NODES),--nodes $(NODES)) $(if $(NAME),--name $(NAME)) \
	  $(if $(IMAGES),--images $(IMAGES))
cluster-status: ## Describe the clusters that are there
	$(INFERFLEET_LOCAL) status $(if $(NAME),--name $(NAME))
cluster-down: ## Take the cluster down and remove all that it made
	$(INFERFLEET_LOCAL) down --flavour $(FLAVOUR) $(if $(NAME),--name $(NAME)) $(if $(ALL),--all)
