{{/* Names. One that is too long for a label is cut. */}}
{{- define "agent-proxy.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's behind it unless it is in there. */}}
{{- define "agent-proxy.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "agent-proxy.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "agent-proxy.selector" -}}
app.kubernetes.io/name: {{ include "agent-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "agent-proxy.metadata" -}}
name: {{ include "agent-proxy.fullname" . }}
namespace: {{ include "agent-proxy.namespace" . }}
labels:
  {{- include "agent-proxy.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "agent-proxy.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "agent-proxy.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* Where to: what is set, else in the host cluster its own gateway. */}}
{{- define "agent-proxy.gateway" -}}
{{- if .Values.config.gatewayUrl -}}
{{ .Values.config.gatewayUrl }}
{{- else if eq .Values.global.clusterInfo.role "host" -}}
http://gateway-whizard-operated.kubesphere-monitoring-system.svc:9090
{{- else -}}
{{ fail "config.gatewayUrl must be set in a member cluster" }}
{{- end -}}
{{- end }}

{{/* The tenant: the cluster's name. Two different ones are a mistake that would be seen late, as
data that is not where it is looked for. */}}
{{- define "agent-proxy.tenant" -}}
{{- $name := .Values.global.clusterInfo.name -}}
{{- $tenant := .Values.config.tenant -}}
{{- if and $name $tenant (ne $name $tenant) -}}
{{ fail "global.clusterInfo.name and config.tenant differ: set one of them to the empty string" }}
{{- else if or $name $tenant -}}
{{ or $name $tenant }}
{{- else -}}
{{ fail "set global.clusterInfo.name or config.tenant" }}
{{- end -}}
{{- end }}
