{{- define "inferfleet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "inferfleet.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "inferfleet.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "inferfleet.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "inferfleet.selectorLabels" -}}
app.kubernetes.io/name: {{ include "inferfleet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "inferfleet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "inferfleet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: inferfleet
{{- end }}

{{- define "inferfleet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "inferfleet.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "inferfleet.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Rights in every namespace that is watched. */}}
{{- define "inferfleet.namespacedRules" -}}
- apiGroups: [inferfleet.dev]
  resources: [inferencedeployments]
  verbs: [get, list, watch, patch]
- apiGroups: [inferfleet.dev]
  resources: [inferencedeployments/status]
  verbs: [get, patch, update]
- apiGroups: [inferfleet.dev]
  resources: [inferencedeployments/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.rbac.readHubTokens }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [get, list, watch, create, patch]
{{- with .Values.rbac.integrations }}
{{- if .gatewayApi }}
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .prometheusOperator }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end }}
{{- end }}

{{/* Reading, everywhere: pools are made of all nodes, and what is free on them depends on everybody's pods. */}}
{{- define "inferfleet.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes, namespaces, pods, services]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch]
# Events about nodes announce what no taint does: interruptions that Karpenter or a node agent was told of.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch]
- apiGroups: [inferfleet.dev]
  resources: [inferencedeployments]
  verbs: [get, list, watch]
- apiGroups: [inferfleet.dev]
  resources: [gpupools]
  verbs: [get, list, watch]
- apiGroups: [inferfleet.dev]
  resources: [gpupools/status]
  verbs: [get, patch, update]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
{{- if .Values.rbac.integrations.karpenter }}
- apiGroups: [karpenter.sh]
  resources: [nodeclaims, nodepools]
  verbs: [get, list, watch]
{{- end }}
{{- if .Values.rbac.writeNodePools }}
- apiGroups: [karpenter.sh]
  resources: [nodepools]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end }}
